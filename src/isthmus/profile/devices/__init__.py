"""Machines known by their figures: seconds computed from sizes, where no machine is there to be measured."""

from isthmus.profile.devices.compute import computed_profile, machine_of, node_seconds
from isthmus.profile.devices.scale_sim import cycles
from isthmus.profile.devices.table import find_device, read_devices, shipped
from isthmus.profile.devices.types import Device, Roofline, Systolic
from isthmus.profile.devices.workload import Workload

__all__ = [
    "Device",
    "Roofline",
    "Systolic",
    "Workload",
    "computed_profile",
    "cycles",
    "find_device",
    "machine_of",
    "node_seconds",
    "read_devices",
    "shipped",
]

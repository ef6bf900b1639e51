"""From a device's figures to seconds: of one layer, of all nodes, and as a profile that planners can read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import BadInput
from isthmus.graph import INPUT, OUTPUT, Graph, narrow_cuts
from isthmus.profile.devices.roofline import roofline_s
from isthmus.profile.devices.scale_sim import systolic_s
from isthmus.profile.devices.types import Device, Systolic
from isthmus.profile.devices.workload import Workload
from isthmus.profile.types import BatchProfile, Machine, Profile, Timing
from isthmus.units import LONGEST_S

MOST_BITS = 64
_DATAFLOWS = {"os": "output", "ws": "weight", "is": "input"}


def node_seconds(
    device: Device, work: Workload, weight_bits: Any, input_bits: Any, output_bits: Any = None
) -> NDArray[np.float64]:
    """Seconds of every node, in running order, shape (…, nodes).

    Each width is one number, one a node, or an array of shape (choices, nodes) for many choices at once; `output_bits`
    is `input_bits` where absent. `work` is `Workload.of(graph, fuses=device.fuses)`. Raises BadInput for a width
    outside 1 … 64.
    """
    output = input_bits if output_bits is None else output_bits
    widths = [np.asarray(b) for b in (weight_bits, input_bits, output)]
    for width in widths:
        if width.size and not (width.min() >= 1 and width.max() <= MOST_BITS):
            raise BadInput(f"numbers are 1 to {MOST_BITS} bits wide, not {width.min():g} to {width.max():g}")
    if isinstance(device, Systolic):
        return np.asarray(systolic_s(device, work, *widths), dtype=np.float64)
    return np.asarray(roofline_s(device, work, *widths), dtype=np.float64)


def computed_profile(
    device: Device, graphs: Iterable[Graph], fingerprint: str, *, taken: str, bits: int | None = None
) -> Profile:
    """The profile of a network on a device that nobody ran it on.

    `graphs`: the network at each batch size wanted. `bits`: width of weights and activations, the device's own where
    absent. Node times add up; the heads and tails at narrow cuts are their sums. `machine.kind` says that it was
    computed. Raises BadInput as `node_seconds` does, and where the device would take longer than LONGEST_S.
    """
    width = device.bits if bits is None else bits
    at = list(graphs)
    if not at:
        raise BadInput("a profile needs at least one batch size")
    works = [Workload.of(g, fuses=device.fuses) for g in at]
    batches = {
        g.batch: _batch(device, g, node_seconds(device, w, width, width)) for g, w in zip(at, works, strict=True)
    }
    return Profile(
        model=at[0].name,
        fingerprint=fingerprint,
        machine=machine_of(device, width),
        taken=taken,
        batches=batches,
    )


def machine_of(device: Device, bits: int) -> Machine:
    """How a profile names a device that was not there: `eyeriss (simulated)`."""
    moved = f"{device.bandwidth_bytes_per_s / 1e9:g} GB/s, {bits} bit"
    if isinstance(device, Systolic):
        what = f"{device.rows}×{device.columns} multipliers at {device.clock_hz / 1e6:g} MHz"
        return Machine(
            name=f"{device.name} (simulated)",
            cpu=f"{what}, {_DATAFLOWS[device.dataflow]} stationary, {moved}",
            system="computed, not measured",
            runtime="closed form of SCALE-Sim",
            threads=1,
            kind="simulated",
        )
    what = f"{device.peak_flops * device.efficiency / 1e12:g} TFLOP/s, {device.launch_s * 1e6:g} µs a layer at least"
    return Machine(
        name=f"{device.name} (roofline)",
        cpu=f"{what}, {moved}",
        system="computed, not measured",
        runtime="roofline model",
        threads=1,
        kind="roofline",
    )


def _batch(device: Device, graph: Graph, seconds: NDArray[np.float64]) -> BatchProfile:
    total = float(seconds.sum())
    inner = [c for c in narrow_cuts(graph) if c.id not in (INPUT, OUTPUT)]
    heads = {c.id: float(seconds[list(c.head)].sum()) for c in inner}
    if total > LONGEST_S:
        raise BadInput(
            f"{device.name} would take {total:.3g} s for {graph.name}; at most {LONGEST_S:g} s are planned for"
        )
    return BatchProfile(
        whole=Timing.certain(total),
        heads={name: Timing.certain(head_s) for name, head_s in heads.items()},
        tails={name: Timing.certain(max(0.0, total - head_s)) for name, head_s in heads.items()},
        nodes={n.name: float(s) for n, s in zip(graph.nodes, seconds, strict=True)},
    )

"""The table of planners: `Problem → Plan`, one file each, all priced by the one cost function."""

from __future__ import annotations

from collections.abc import Callable

from isthmus.plan.planners import device_only as _device_only
from isthmus.plan.planners import dynamic as _dynamic
from isthmus.plan.planners import edgent as _edgent
from isthmus.plan.planners import edgent_map as _edgent_map
from isthmus.plan.planners import exhaustive as _exhaustive
from isthmus.plan.planners import mincut as _mincut
from isthmus.plan.planners import neurosurgeon as _neurosurgeon
from isthmus.plan.planners import server_only as _server_only
from isthmus.plan.types import Plan, Problem

PLANNERS: dict[str, Callable[[Problem], Plan]] = {
    "device_only": _device_only.device_only,
    "server_only": _server_only.server_only,
    "neurosurgeon": _neurosurgeon.neurosurgeon,
    "mincut": _mincut.mincut,
    "dynamic": _dynamic.dynamic,
    "dynamic_narrow": _dynamic.dynamic_narrow,
    "edgent": _edgent.edgent,
    "edgent_mincut": _edgent.edgent_mincut,
    "edgent_map": _edgent_map.edgent_map,
    "edgent_map_accuracy": _edgent_map.edgent_map_accuracy,
    "exhaustive": _exhaustive.exhaustive,
}

__all__ = ["PLANNERS"]

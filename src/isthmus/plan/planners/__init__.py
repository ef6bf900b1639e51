"""The table of planners: `Problem → Plan`, one file each, all priced by the one cost function."""

from __future__ import annotations

from isthmus.plan.planners import autosplit as _autosplit
from isthmus.plan.planners import cloud16 as _cloud16
from isthmus.plan.planners import dads as _dads
from isthmus.plan.planners import device_only as _device_only
from isthmus.plan.planners import dynamic as _dynamic
from isthmus.plan.planners import edgent as _edgent
from isthmus.plan.planners import edgent_map as _edgent_map
from isthmus.plan.planners import exhaustive as _exhaustive
from isthmus.plan.planners import mincut as _mincut
from isthmus.plan.planners import neurosurgeon as _neurosurgeon
from isthmus.plan.planners import qdmp as _qdmp
from isthmus.plan.planners import server_only as _server_only
from isthmus.plan.planners import uniform as _uniform
from isthmus.plan.planners.called import Planner, called

PLANNERS: dict[str, Planner] = {
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
    "dads": _dads.dads,
    "dads_heavy": _dads.dads_heavy,
    "qdmp": _qdmp.qdmp,
    "qdmp_e": _qdmp.qdmp_e,
    "qdmp_e_u4": _qdmp.qdmp_e_u4,
    "u2": _uniform.u2,
    "u4": _uniform.u4,
    "u6": _uniform.u6,
    "u8": _uniform.u8,
    "cloud16": _cloud16.cloud16,
    "autosplit": _autosplit.autosplit,
    "exhaustive": _exhaustive.exhaustive,
}


def planner_called(name: str) -> Planner:
    """A planner of the table, or of your own: see `called`. Raises BadInput where there is none."""
    return called(name, PLANNERS)


__all__ = ["PLANNERS", "planner_called"]

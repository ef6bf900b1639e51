"""isthmus: run a trained network across device, edge and cloud.

The everyday names stand here and are loaded when first used, so that planning needs neither onnxruntime nor gRPC.

>>> import isthmus
>>> isthmus.load_model("zoo:tiny", weights=False).name
'tiny'
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from isthmus.errors import IsthmusError
from isthmus.version import __version__

if TYPE_CHECKING:
    from isthmus.bundle import open_bundle
    from isthmus.engine import Engine
    from isthmus.graph import graph_of, narrow_cuts
    from isthmus.link import Link
    from isthmus.model import load_model
    from isthmus.plan import PLANNERS, Plan, Problem, price, problem_for
    from isthmus.session import connect, ready, serve

_WHERE = {
    "PLANNERS": "plan",
    "Engine": "engine",
    "Link": "link",
    "Plan": "plan",
    "Problem": "plan",
    "connect": "session",
    "graph_of": "graph",
    "load_model": "model",
    "narrow_cuts": "graph",
    "open_bundle": "bundle",
    "price": "plan",
    "problem_for": "plan",
    "ready": "session",
    "serve": "session",
}

__all__ = [
    "PLANNERS",
    "Engine",
    "IsthmusError",
    "Link",
    "Plan",
    "Problem",
    "__version__",
    "connect",
    "graph_of",
    "load_model",
    "narrow_cuts",
    "open_bundle",
    "price",
    "problem_for",
    "ready",
    "serve",
]


def __getattr__(name: str) -> Any:
    where = _WHERE.get(name)
    if where is None:
        raise AttributeError(f"isthmus has no {name}")
    value = getattr(import_module(f"isthmus.{where}"), name)
    globals()[name] = value  # also where a submodule of the same name was imported first
    return value

"""Which cuts survive optimisation: a cut is *fusion-safe* when keeping its tensor costs no fused operator.

Testing each cut alone takes an optimisation a cut. Instead (three or four optimisations in all):

1. Optimise up to the point where tensors still have their own names. What is gone by then lies inside a fused
   operator and is out.
2. Optimise fully with nothing kept, and again with all the remaining tensors kept. Equal operator counts (layout moves
   aside) prove all of them safe, together.
3. Otherwise the surplus operators are those that the kept tensors tore off: drop the tensors these read, and repeat 2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import helper

from isthmus.engine.core import LAYOUT_OPS, Core
from isthmus.engine.sessions import optimise

Optimiser = Callable[[Sequence[str], str], Core]
"""(tensors to keep, level) → the optimised network, whose large weights stand in files until the next call."""


@dataclass(frozen=True)
class Optimised:
    """The optimised network with every fusion-safe tensor kept, and their names in running order."""

    core: Core
    safe: tuple[str, ...]


def optimiser(proto: onnx.ModelProto, kinds: dict[str, int], folder: Path) -> Optimiser:
    """onnxruntime's optimiser on one model. `kinds` are the tensors' onnx element types; it writes into `folder`."""
    model = proto.SerializeToString()

    def run(keep: Sequence[str], level: str) -> Core:
        extra = onnx.ModelProto()
        extra.graph.output.extend(helper.make_tensor_value_info(t, kinds[t], None) for t in keep)
        path = folder / "optimised.onnx"
        # two messages one after the other parse as one with the lists joined
        optimise(model + extra.SerializeToString(), path, level)
        return Core(onnx.load(path, load_external_data=False))

    return run


def keep_safe(candidates: Sequence[str], optimised: Optimiser, level: str = "all") -> Optimised:
    """The largest set of `candidates` found that costs no operator when all of them are kept."""
    names = optimised((), "extended").producer
    kept = [t for t in candidates if t in names]
    fewest = optimised((), level)
    while True:
        core = optimised(kept, level)
        if core.work_nodes <= fewest.work_nodes:
            return Optimised(core, tuple(kept))  # the last call: its weights are still there
        torn = _torn_off(core, fewest)
        left = [t for t in kept if t not in torn]
        kept = left if len(left) < len(kept) else _halved(kept, optimised, level, fewest.work_nodes)


def _torn_off(core: Core, fewest: Core) -> set[str]:
    """Tensors read by operators that are there only because something was kept, by their plain names."""
    plain = {node.input[0]: node.output[0] for node in core.proto.graph.node if node.op_type == "ReorderOutput"}
    known = {node.name for node in fewest.proto.graph.node}
    read = [
        t
        for node in core.proto.graph.node
        if node.op_type not in LAYOUT_OPS and node.name not in known
        for t in node.input
    ]
    return {plain.get(t, t) for t in read}


def _halved(kept: list[str], optimised: Optimiser, level: str, fewest: int) -> list[str]:
    """The tensors that are safe beside those before them: when names tell nothing, by halving the list."""

    def sift(safe: list[str], rest: list[str]) -> list[str]:
        if not rest or optimised([*safe, *rest], level).work_nodes <= fewest:
            return safe + rest
        if len(rest) == 1:
            return safe
        middle = len(rest) // 2
        return sift(sift(safe, rest[:middle]), rest[middle:])

    return sift([], kept)

"""The network as few layers as it has: constants worked out beforehand, idle nodes gone, normalisations folded.

A list of passes, each with a condition it needs and one it leaves behind, both checked whenever it runs; after all of
them the network takes and gives what it did. Auto-Split (KDD 2021) begins with these before it looks for splits;
activation fusion, which ONNX has no operator for, is done on the graph (`isthmus.graph.fused_graph`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableSequence, Sequence
from dataclasses import dataclass

import onnx

from isthmus.errors import BadModel
from isthmus.model.affine import fold_affine, next_affine
from isthmus.model.bench import Bench
from isthmus.model.constants import fold_constants, next_constant
from isthmus.model.types import Model

Condition = Callable[[Bench], str | None]
"""What is wrong with a network on the bench, in words; None where it holds."""
_IDLE = ("Identity", "Dropout")


@dataclass(frozen=True)
class Pass:
    """One rewriting of a network. Nodes stand in running order before and after it (`in_order`), and `leaves` holds
    after it."""

    name: str
    run: Callable[[Bench], None]
    leaves: Condition


def fused(model: Model) -> Model:
    """The same network with constants folded, idle nodes dropped and normalisations in the weights they follow.

    Inputs, outputs and their shapes are what they were, and so are the values within the rounding of the weights' type;
    inner tensors that are left keep their names. Works on shape-only models. A model that has nothing to fold comes
    back as it is. Raises BadModel where a pass broke a promise.
    """
    return run_passes(model, PASSES)


def run_passes(model: Model, passes: Sequence[Pass]) -> Model:
    """A network after these passes, each held to its conditions. Raises BadModel where one does not hold."""
    bench = Bench(model)
    for step in passes:
        _hold(step, bench, "finds", in_order(bench))
        step.run(bench)
        _hold(step, bench, "leaves", in_order(bench) or step.leaves(bench))
    return bench.assembled()


def drop_idle(bench: Bench) -> None:
    """Remove nodes that hand on what they get. An output's name moves to the node that makes it."""
    idle, names, gone = _idle_finder(bench), dict[str, str](), set[int]()
    for node in bench.nodes:
        _rename(node.input, names)
        if idle(node):
            source, made = node.input[0], node.output[0]
            old, new = (source, made) if made in bench.outputs else (made, source)
            names[old] = new
            gone.add(id(node))
    bench.drop(gone)
    for node in bench.nodes:
        _rename(node.input, names)
        _rename(node.output, names)
        node.name = node.output[0]


def next_idle(bench: Bench) -> onnx.NodeProto | None:
    """The first node that hands on what it gets and can go."""
    return next(filter(_idle_finder(bench), bench.nodes), None)


def _idle_finder(bench: Bench) -> Callable[[onnx.NodeProto], bool]:
    """Tells nodes that hand on what they get and can go: not where one joins an input, a constant or another output to
    an output."""
    made = {o for n in bench.nodes for o in n.output}
    wanted = bench.outputs.union(*(n.input for n in bench.nodes))

    def idle(node: onnx.NodeProto) -> bool:
        if node.op_type not in _IDLE or not wanted.isdisjoint(node.output[1:]) or _drops(bench, node):
            return False
        source = node.input[0]
        return node.output[0] not in bench.outputs or (source in made and source not in bench.outputs)

    return idle


def _rename(slots: MutableSequence[str], names: Mapping[str, str]) -> None:
    for place, name in enumerate(slots):
        while name in names:
            slots[place] = name = names[name]


def in_order(bench: Bench) -> str | None:
    """Every tensor is made once, before it is read, and every output is made."""
    known = bench.weights.keys() | bench.inputs
    for node in bench.nodes:
        if missing := [name for name in node.input if name and name not in known]:
            return f"{node.name} reads {missing[0]} before anything has made it"
        if twice := [name for name in node.output if name and name in known]:
            return f"{twice[0]} is made twice"
        known.update(node.output)
    lost = sorted(bench.outputs - known)
    return f"output {lost[0]} is made by no node" if lost else None


def _hold(step: Pass, bench: Bench, when: str, wrong: str | None) -> None:
    if wrong:
        raise BadModel(f"the pass '{step.name}' on {bench.name} {when} something wrong: {wrong}")


def _drops(bench: Bench, node: onnx.NodeProto) -> bool:
    """Whether a Dropout is told to drop, by a third input that is true or not known beforehand."""
    told = node.input[2] if node.op_type == "Dropout" and len(node.input) > 2 else ""
    if not told:
        return False
    value = bench.value(told) if bench.is_weight(told) else None
    return value is None or bool(value.any())


def _left(find: Callable[[Bench], object], what: str) -> Condition:
    return lambda bench: None if find(bench) is None else f"{what} is left"


PASSES = (
    Pass("drop idle nodes", drop_idle, _left(next_idle, "an idle node")),
    Pass("fold constants", fold_constants, _left(next_constant, "a node that reads constants only")),
    Pass("fold scales and shifts", fold_affine, _left(next_affine, "a scale and shift after a layer")),
)
"""In this order: normalisations written out as chains of constants become one constant a step, then fold."""

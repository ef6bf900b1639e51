"""Seconds of every operator of the graph, by onnxruntime's own profiling of the optimised network.

A fused kernel does the work of several operators of the graph; its time goes to the one that does most of it (the
convolution of convolution + normalisation + addition + activation), and the others cost nothing. So the sum over the
graph is the sum over the kernels.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from isthmus.engine.core import LAYOUT_OPS, Core
from isthmus.engine.sessions import Part
from isthmus.errors import BadInput
from isthmus.files import scratch_folder
from isthmus.graph.types import Graph
from isthmus.model.types import Array

if TYPE_CHECKING:
    from isthmus.engine.engine import Engine

_BLOCKED_SUFFIX = "_nchwc"
_NORM_SUFFIX = "_bn"
"""A batch norm in the blocked layout becomes a convolution of that name."""
_KERNEL = "_kernel_time"


def node_times(engine: Engine, inputs: Mapping[str, Array], runs: int) -> dict[str, float]:
    """Median kernel seconds over `runs` runs of the whole network, one entry a node of `engine.graph`, in its order.

    Kernel times are whole microseconds; a declared slow-down is not in them. Raises BadInput for wrong inputs.
    """
    kernels = {name: statistics.median(seen) for name, seen in kernel_times(engine, inputs, runs).items()}
    return attribute(kernels, owners(engine.core, engine.graph), engine.graph)


def kernel_times(engine: Engine, inputs: Mapping[str, Array], runs: int) -> dict[str, list[float]]:
    """Seconds of every run of every kernel (node of `engine.core`) of the whole network, the warm-up left out.

    Raises BadInput for wrong inputs.
    """
    if runs < 1:
        raise BadInput(f"{runs} runs measure nothing; give at least 1")
    engine.check_inputs(inputs)
    with scratch_folder() as scratch:
        part = engine.profiled(scratch / "run")
        part.run(inputs)  # the first run finds cold memory; its events are left out below
        for _ in range(runs):
            part.run(inputs)
        return _kernel_seconds(part, runs)


def attribute(kernels: Mapping[str, float], owner: Mapping[str, str], graph: Graph) -> dict[str, float]:
    """Give every kernel's seconds to the graph node that owns it. The sum stays what it was."""
    times = {n.name: 0.0 for n in graph.nodes}
    for kernel, duration_s in kernels.items():
        times[owner[kernel]] += duration_s
    return times


def owners(core: Core, graph: Graph) -> dict[str, str]:
    """Kernel (node of the optimised network) → name of the graph node that its time belongs to.

    A kernel is placed by the graph's tensor it gives, or, where it gives a blocked token, by the one it is named
    after; among the graph nodes from there back to the tensors of other kernels the owner is the one of the same kind,
    else the one with most multiply-accumulates. Layout moves belong to their neighbours.
    """
    nodes = core.proto.graph.node
    anchors = {i: a for i, n in enumerate(nodes) if (a := _anchor(core, graph, n)) is not None}
    borders = set(anchors.values())
    owner: dict[str, str] = {}
    last = graph.nodes[0].name
    for i, node in enumerate(nodes):
        if node.op_type in LAYOUT_OPS:
            continue
        if i in anchors:
            last = _main_node(graph, anchors[i], borders, node.op_type)
        owner[node.name] = last
    for node in nodes:
        if node.op_type in LAYOUT_OPS:
            owner[node.name] = _neighbour(core, node, owner, last)
    return owner


def _anchor(core: Core, graph: Graph, node: onnx.NodeProto) -> str | None:
    """A tensor of the graph that this kernel makes, or makes on the way to what it gives."""
    if node.op_type in LAYOUT_OPS:
        return None
    named = node.name.removesuffix(_BLOCKED_SUFFIX).removesuffix(_NORM_SUFFIX)
    if named != node.name and named in graph.producer:
        return named
    plain = {t: name for name, t in core.tokens.items()}
    made = next((t for o in node.output if (t := plain.get(o, o)) in graph.producer), None)
    # additions, activations, concatenations work in the blocked layout without being renamed
    return named if made is None and named in graph.producer else made


def _main_node(graph: Graph, anchor: str, borders: set[str], kind: str) -> str:
    group: set[int] = set()
    todo = [anchor]
    while todo:
        i = graph.producer.get(todo.pop())
        if i is not None and i not in group:
            group.add(i)
            todo.extend(t for t in graph.nodes[i].inputs if t not in borders)
    kind = kind.removeprefix("Fused")
    best = max(group, key=lambda i: (graph.nodes[i].op == kind, graph.nodes[i].macs, i))
    return graph.nodes[best].name


def _neighbour(core: Core, node: onnx.NodeProto, owner: Mapping[str, str], default: str) -> str:
    """The kernel before a `ReorderOutput`, the kernel after a `ReorderInput`."""
    nodes = core.proto.graph.node
    if node.op_type == "ReorderOutput" and node.input[0] in core.producer:
        return owner.get(nodes[core.producer[node.input[0]]].name, default)
    after = (n for n in nodes if node.output[0] in n.input and n.name in owner)
    return next((owner[n.name] for n in after), default)


def _kernel_seconds(part: Part, runs: int) -> dict[str, list[float]]:
    """The last `runs` durations of each kernel, by node name, from the profile onnxruntime wrote. Raises BadInput where
    it could not: it says nothing of a full disk itself."""
    written = Path(part.session.end_profiling())
    try:
        events = json.loads(written.read_text())
    except ValueError as error:
        raise BadInput(f"no temporary files can be written: {written} was cut short; is the disk full?") from error
    durations: dict[str, list[float]] = {}
    for event in events:
        name = event.get("name", "")
        if event.get("cat") == "Node" and name.endswith(_KERNEL):
            durations.setdefault(name.removesuffix(_KERNEL), []).append(event["dur"] * 1e-6)
    return {name: seen[-runs:] for name, seen in durations.items()}

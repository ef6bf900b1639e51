"""Bringing a checked graph into one form: no dead nodes, nodes named by their first output, names fit for cut ids."""

from __future__ import annotations

from typing import Any

import onnx

from isthmus.model.vetting import RESERVED

_PLAIN = str.maketrans(dict.fromkeys(RESERVED, "_"))


def drop_initializer_inputs(graph: onnx.GraphProto) -> None:
    """Before IR 4 every initializer was listed as an input too; whoever runs the model feeds none of them."""
    held = {t.name for t in graph.initializer}
    kept = [i for i in graph.input if i.name not in held]
    if len(kept) != len(graph.input):
        del graph.input[:]
        graph.input.extend(kept)


def drop_dead(graph: onnx.GraphProto) -> None:
    """Remove nodes that no output depends on."""
    wanted = {o.name for o in graph.output}
    kept: list[onnx.NodeProto] = []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(node.input)
    if len(kept) != len(graph.node):
        del graph.node[:]
        graph.node.extend(reversed(kept))


def forget_remarks(graph: onnx.GraphProto) -> None:
    """Remove what exporters write beside the network: doc strings and metadata, where torch leaves stack traces with
    the paths of the machine that exported. None of it belongs in a bundle."""
    graph.ClearField("doc_string")
    del graph.metadata_props[:]
    parts: list[Any] = [*graph.node, *graph.input, *graph.output, *graph.initializer]
    for part in parts:
        part.ClearField("doc_string")
        del part.metadata_props[:]


def name_nodes(graph: onnx.GraphProto) -> None:
    """Every node is called by its first output. Names of inner tensors with characters that cut ids use
    (`RESERVED`) are changed; an omitted first output gets a name."""
    fixed = {v.name for v in (*graph.input, *graph.output)}
    taken = names_of(graph)
    renamed: dict[str, str] = {}
    for place, node in enumerate(graph.node):
        for slot, name in enumerate(node.output):
            if not name and slot == 0:
                node.output[0] = free_name(f"{node.op_type.lower()}_{place}", taken)
            elif name not in fixed and not set(RESERVED).isdisjoint(name):
                renamed[name] = node.output[slot] = free_name(name.lstrip("@").translate(_PLAIN), taken)
        for slot, name in enumerate(node.input):
            if name in renamed:
                node.input[slot] = renamed[name]
        node.name = node.output[0]


def names_of(graph: onnx.GraphProto) -> set[str]:
    """The names of all tensors."""
    ends = {v.name for v in (*graph.input, *graph.output)}
    return ends | {name for node in graph.node for name in node.output} | {t.name for t in graph.initializer}


def free_name(stem: str, taken: set[str]) -> str:
    """A name that begins with `stem` and is not taken yet; it is from now on."""
    name, count = stem or "tensor", 0
    while name in taken:
        count += 1
        name = f"{stem}_{count}"
    taken.add(name)
    return name

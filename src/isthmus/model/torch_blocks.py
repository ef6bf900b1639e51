"""The blocks of a PyTorch module, and the tensors of its exported graph that they give.

A block is the outermost module of several layers that stands in a `Sequential` or `ModuleList` (a residual block in its
stage); where a network keeps its parts in no list, the modules of several layers that are its own attributes. Lists
themselves are stages, not blocks. torch's exporter notes beside every node which modules it comes from.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

import onnx

_SCOPES = "pkg.torch.onnx.name_scopes"
_LISTS = ("Sequential", "ModuleList", "ModuleDict")


def module_blocks(module: Any, graph: onnx.GraphProto) -> tuple[str, ...]:
    """First output of the last node of every block of `module`, in running order; none where the exporter noted no
    modules. Whether one tensor alone crosses there is for the graph to say."""
    names = set(block_names(module))
    last: dict[str, str] = {}
    for node in graph.node:
        for name in names.intersection(_scopes(node)):
            last[name] = node.output[0]
    made = set(last.values())
    return tuple(dict.fromkeys(node.output[0] for node in graph.node if node.output[0] in made))


def block_names(module: Any) -> tuple[str, ...]:
    """Names of the modules that are blocks, as `named_modules` says them."""
    modules = dict(module.named_modules())
    layers = {name: sum(_is_layer(m) for m in part.modules()) for name, part in modules.items()}
    compound = [n for n, part in modules.items() if n and layers[n] > 1 and not _is_list(part)]
    listed = [n for n in compound if _is_list(modules[n.rpartition(".")[0]])]
    found = listed or [n for n in compound if "." not in n]
    return _outermost([n for n in found if not _wraps(n, found, layers)])


def _wraps(name: str, found: list[str], layers: Mapping[str, int]) -> bool:
    """Is this most of the network, with blocks of its own inside? A backbone beside its classifier is."""
    return 2 * layers[name] > layers[""] and any(n.startswith(f"{name}.") for n in found)


def _outermost(names: list[str]) -> tuple[str, ...]:
    known = set(names)
    return tuple(n for n in names if not any(n[:i] in known for i, c in enumerate(n) if c == "."))


def _is_layer(module: Any) -> bool:
    """Has it a weight of its own that is a matrix or more? Norms and activations have none."""
    return any(p.ndim > 1 for p in module.parameters(recurse=False))


def _is_list(module: Any) -> bool:
    """A Sequential or a list of modules, or a subclass."""
    return any(c.__module__ == "torch.nn.modules.container" and c.__name__ in _LISTS for c in type(module).__mro__)


def _scopes(node: onnx.NodeProto) -> list[str]:
    for entry in node.metadata_props:
        if entry.key == _SCOPES:
            try:
                names = ast.literal_eval(entry.value)
            except (ValueError, SyntaxError):
                return []
            return [n for n in names if isinstance(n, str)] if isinstance(names, list) else []
    return []

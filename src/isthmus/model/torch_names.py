"""What the inputs and outputs of a torch module are called in its exported graph.

torch's exporter renames an input that the module also returns, and gives two tensors one name where an output is to be
called like another tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx

from isthmus.errors import BadModel
from isthmus.model.tidy import free_name


def name_ends(graph: onnx.GraphProto, name: str, inputs: Sequence[str], outputs: Sequence[str] | None) -> None:
    """Call the graph's inputs and outputs so, in this order; without `outputs` they keep torch's names where no input
    has them. Other tensors make way.

    Raises BadModel where `outputs` are not one name for each tensor that the module (`name`) returns.
    """
    returned = [value.name for value in graph.output]
    taken = {*inputs, *returned}
    if outputs is None:
        outputs = [free_name(given, taken) if given in inputs else given for given in returned]
    elif not _fit(outputs, len(returned), inputs):
        raise BadModel(
            f"outputs must name each of the {len(returned)} tensors that {name} returns once, and like no input "
            f"({', '.join(inputs)}), not be {outputs!r}"
        )
    names = dict(zip([v.name for v in graph.input] + returned, [*inputs, *outputs], strict=True))
    others = {t.name for t in graph.initializer}.union(*(node.output for node in graph.node)) - names.keys()
    taken |= {*outputs, *others}
    names |= {other: free_name(other, taken) for other in sorted(others.intersection(names.values()))}
    tensors: list[Any] = [*graph.input, *graph.output, *graph.value_info, *graph.initializer]
    for value in tensors:
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        for slots in (node.input, node.output):
            slots[:] = [names.get(slot, slot) for slot in slots]


def _fit(outputs: object, count: int, inputs: Sequence[str]) -> bool:
    if not isinstance(outputs, tuple | list) or not all(isinstance(o, str) and o for o in outputs):
        return False
    return len(outputs) == count == len({*outputs} - {*inputs})

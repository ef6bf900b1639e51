"""Block outputs as they travel inside an ONNX file: a JSON list in the model's metadata."""

from __future__ import annotations

import json
from collections.abc import Sequence

import onnx

KEY = "isthmus.blocks"


def write_blocks(proto: onnx.ModelProto, blocks: Sequence[str]) -> None:
    """Record the names of the block outputs, in running order."""
    kept = [p for p in proto.metadata_props if p.key != KEY]
    del proto.metadata_props[:]
    proto.metadata_props.extend(kept)
    if blocks:
        proto.metadata_props.add(key=KEY, value=json.dumps(list(blocks)))


def read_blocks(proto: onnx.ModelProto) -> tuple[str, ...]:
    """The recorded names that are tensors of the graph; none where nothing sensible is recorded."""
    made = {name for node in proto.graph.node for name in node.output}
    for entry in proto.metadata_props:
        if entry.key == KEY:
            try:
                names = json.loads(entry.value)
            except (ValueError, RecursionError):
                return ()
            return tuple(n for n in names if isinstance(n, str) and n in made) if isinstance(names, list) else ()
    return ()

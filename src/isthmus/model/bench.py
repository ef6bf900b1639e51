"""A network taken apart for rewriting: nodes to change, weights to replace, shapes to look up. Weights that a pass does
not touch are never copied until the network is put together again."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from isthmus.errors import BadModel
from isthmus.model.initializers import is_bare
from isthmus.model.onnx_file import model_from_proto
from isthmus.model.shapes import Shapes, shapes_at
from isthmus.model.types import Array, Model


class Bench:
    """One network on the bench. `nodes` stand in running order; `weights` are the constants by name."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.name = model.name
        self.nodes = [_copied(node) for node in model.proto.graph.node]
        self.weights: dict[str, onnx.TensorProto] = {t.name: t for t in model.proto.graph.initializer}
        self.inputs = {i.name for i in model.inputs}
        self.outputs = {o.name for o in model.outputs}
        self.changes = 0
        self._names = self.weights.keys() | {o for n in self.nodes for o in n.output} | self.inputs
        self._shapes: Shapes | None = None

    @property
    def shapes(self) -> Shapes:
        """Shape and element type of every tensor the network had when it was taken apart, at its smallest batch."""
        if self._shapes is None:
            self._shapes = shapes_at(self.proto, 1)
        return self._shapes

    @property
    def proto(self) -> onnx.ModelProto:
        """The network as it was taken apart; not to be changed."""
        return self._model.proto

    def consumers(self) -> dict[str, list[onnx.NodeProto]]:
        """Tensor → the nodes that read it, each once."""
        found: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(i for i in node.input if i):
                found.setdefault(name, []).append(node)
        return found

    def drop(self, gone: set[int]) -> None:
        """Take away the nodes of these identities (`id(node)`)."""
        self.nodes = [node for node in self.nodes if id(node) not in gone]
        self.changes += len(gone)

    def is_weight(self, name: str) -> bool:
        """Whether a tensor is a constant."""
        return name in self.weights

    def value(self, name: str) -> Array | None:
        """A constant's values; None where the model holds only its size."""
        tensor = self.weights[name]
        return None if is_bare(tensor) else np.asarray(numpy_helper.to_array(tensor))

    def store(self, name: str, values: Array | None, dims: tuple[int, ...], kind: int) -> str:
        """Keep a new constant under `name` or, where that is taken, one like it; the name it got. Without values it has
        only its size."""
        free, count = name, 0
        while free in self._names:
            count += 1
            free = f"{name}_{count}"
        self._names.add(free)
        if values is None:
            self.weights[free] = onnx.TensorProto(name=free, data_type=kind, dims=dims)
        else:
            self.weights[free] = numpy_helper.from_array(np.asarray(values, order="C"), free)
        return free

    def assembled(self) -> Model:
        """The network put together again and checked as any model is; the one it was where nothing changed.

        Raises BadModel where its inputs or outputs are no longer what they were: a pass is wrong then.
        """
        before = self._model
        if not self.changes:
            return before
        proto = onnx.ModelProto(ir_version=before.proto.ir_version, opset_import=before.proto.opset_import)
        proto.graph.name = before.proto.graph.name
        proto.graph.node.extend(self.nodes)
        proto.graph.input.extend(before.proto.graph.input)
        proto.graph.output.extend(before.proto.graph.output)
        read = {name for node in self.nodes for name in node.input}
        proto.graph.initializer.extend(t for t in self.weights.values() if t.name in read)
        made = {name for node in self.nodes for name in node.output}
        blocks = tuple(b for b in before.blocks if b in made)
        after = model_from_proto(proto, before.name, blocks=blocks, copy=False)
        if (after.inputs, after.outputs) != (before.inputs, before.outputs):
            raise BadModel(f"rewriting {before.name} changed what goes in or comes out of it; it must not")
        return after


def _copied(node: onnx.NodeProto) -> onnx.NodeProto:
    made = onnx.NodeProto()
    made.CopyFrom(node)
    return made

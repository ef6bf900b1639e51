"""A trained (or zoo) network as isthmus holds it: an ONNX model, its signature, its fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from isthmus.errors import BadInput, BadModel

Array = NDArray[np.generic]
"""Numbers of any dtype."""
Progress = Callable[[int, int, str], None]
"""progress(done, of, what): told about long work."""
OPSET = 21
"""Every model is converted to this operator set: it has INT4, and onnxruntime runs 21…26 equally fast."""
IR_VERSION = 10
_BLOCK = 1 << 20
"""Random numbers drawn at a time."""


@dataclass(frozen=True)
class Signature:
    """One input or output: its name, shape (None where the batch goes; where a part of a network ends, also −k for k
    times the batch) and numpy dtype name."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str

    def at(self, batch: int) -> tuple[int, ...]:
        """The shape with the batch filled in."""
        return tuple(batch if d is None else d if d >= 0 else -d * batch for d in self.shape)


@dataclass(frozen=True)
class Model:
    """An ONNX model that was checked and bounded when it was made; `proto` must not be changed by anyone.

    Initializers of a model made with `weights=False` carry shapes only: it can be inspected and planned, not run.
    `blocks` are the output tensors of the architecture's blocks where the maker recorded them, in running order.
    """

    name: str
    proto: onnx.ModelProto = field(repr=False)
    inputs: tuple[Signature, ...]
    outputs: tuple[Signature, ...]
    has_weights: bool = True
    blocks: tuple[str, ...] = ()

    @cached_property
    def fingerprint(self) -> str:
        """sha256 (hex) of structure and weights; the same network loaded twice has the same fingerprint."""
        graph = self.proto.graph
        digest = hashlib.sha256()
        bare = onnx.ModelProto(ir_version=self.proto.ir_version, opset_import=self.proto.opset_import)
        bare.graph.node.extend(graph.node)
        bare.graph.input.extend(graph.input)
        bare.graph.output.extend(graph.output)
        digest.update(bare.SerializeToString(deterministic=True))
        for t in graph.initializer:
            digest.update(f"{t.name!r} {t.data_type} {list(t.dims)} {t.HasField('raw_data')}".encode())
            digest.update(t.raw_data)
        return digest.hexdigest()

    @property
    def dynamic_batch(self) -> bool:
        """True where an input takes any batch; those beside it that do not are the same at every batch."""
        return any(s.shape[:1] == (None,) for s in self.inputs)

    def need_samples(self) -> None:
        """Raise BadInput where some inputs have a batch and others have none, so that these have no samples."""
        fixed = [s.name for s in self.inputs if s.shape[:1] != (None,)]
        if fixed and self.dynamic_batch:
            raise BadInput(
                f"input {fixed[0]!r} of {self.name} is the same for a whole batch, so there are no samples of it; "
                "give all inputs a batch, or make it a weight"
            )

    def need_weights(self) -> None:
        """Raise BadModel when this is a shape-only model."""
        if not self.has_weights:
            raise BadModel(f"{self.name} was loaded as shapes only; load it with weights to run it")

    def random_inputs(self, batch: int = 1, seed: int = 0) -> dict[str, Any]:
        """Standard-normal inputs (small whole numbers for integer inputs), seeded, for checks and timings."""
        import numpy as np

        rng = np.random.default_rng(seed)
        made: dict[str, Any] = {}
        for s in self.inputs:
            made[s.name] = np.empty(s.at(batch), s.dtype)
            flat, floats = made[s.name].reshape(-1), np.dtype(s.dtype).kind == "f"
            for at in range(0, flat.size, _BLOCK):  # drawn in float64: all at once would be twice the input more
                block = flat[at : at + _BLOCK]
                block[:] = rng.standard_normal(block.size) if floats else rng.integers(0, 2, block.size)
        return made

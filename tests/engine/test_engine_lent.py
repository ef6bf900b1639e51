"""Weights are lent from one mapping of their file, where numpy has their element type."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from isthmus.engine.lent import lend
from isthmus.engine.weights import externalise
from isthmus.errors import BadInput

SIZE = 2048


def stored(path: Path) -> list[onnx.TensorProto]:
    """Tensors of several element types, their values in a file."""
    values = np.random.default_rng(0).normal(0, 50, (2, SIZE))
    whole = [numpy_helper.from_array(values.astype(kind), kind) for kind in ("float32", "float16", "float64", "int64")]
    other = [onnx.helper.make_tensor("bfloat16", TensorProto.BFLOAT16, [2 * SIZE], values.ravel().tolist())]
    other.append(onnx.helper.make_tensor("uint4", TensorProto.UINT4, [8 * SIZE], [i % 16 for i in range(8 * SIZE)]))
    inline = numpy_helper.from_array(np.arange(3), "inline")
    proto = onnx.ModelProto()
    proto.graph.initializer.extend([*whole, *other, inline])
    return list(externalise(proto, path).graph.initializer)


def test_what_is_lent_is_what_stands_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "weights.bin"
    tensors = stored(file)
    lent = lend(tensors, file)
    assert sorted(lent) == ["float16", "float32", "float64", "int64"], "neither what stands inline nor odd types"
    for tensor in tensors:
        if tensor.name in lent:
            wanted = numpy_helper.to_array(tensor, base_dir=str(tmp_path))
            np.testing.assert_array_equal(lent[tensor.name].numpy(), wanted)
            assert lent[tensor.name].data_ptr() % 64 == 0, "kernels are slower on others"


def test_what_stands_elsewhere_is_not_lent(tmp_path: Path) -> None:
    tensors = stored(tmp_path / "weights.bin")
    assert lend(tensors, tmp_path / "other.bin") == {}
    assert lend([], tmp_path / "weights.bin") == {}


@pytest.mark.parametrize("there", [False, True], ids=["deleted", "emptied"])
def test_a_file_that_is_gone_is_said(there: bool, tmp_path: Path) -> None:
    file = tmp_path / "weights.bin"
    tensors = stored(file)
    file.unlink()
    if there:
        file.touch()
    with pytest.raises(BadInput, match="cannot be mapped"):
        lend(tensors, file)

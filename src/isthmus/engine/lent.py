"""Weights that many sessions are lent: a file mapped once, at one address.

A session that maps the file itself finds the same pages, but at addresses of its own. What an address means stands in
page tables, 200 kB of them for the 97 MB of ResNet-50, and those of a session that has not run for a while are no
longer in the caches: the first request on another cut took up to 6.5 % longer (docs/decisions/0015).
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from isthmus.engine.runtime import ort
from isthmus.errors import BadInput

_BUILT_IN = 1
"""numpy's `isbuiltin` of its own element types. bfloat16 and those of 8 bits and less are somebody else's, and
onnxruntime takes no arrays of them: such weights it maps itself."""


def lend(tensors: Iterable[onnx.TensorProto], file: Path) -> Mapping[str, ort.OrtValue]:
    """Those of `tensors` that stand in `file` and can be lent, by name. They must last as long as any session that was
    given them: it holds nothing of them but their addresses. Raises BadInput where the file cannot be mapped."""
    there = [(t, said) for t in tensors if (said := _place(t)) and said["location"] == file.name]
    kinds = [np.dtype(helper.tensor_dtype_to_np_dtype(t.data_type)) for t, _ in there]
    if not there:
        return {}
    pages = _mapped(file)
    return {
        tensor.name: ort.OrtValue.ortvalue_from_numpy(
            np.frombuffer(pages, kind, math.prod(tensor.dims), int(said.get("offset", 0))).reshape(tensor.dims)
        )
        for (tensor, said), kind in zip(there, kinds, strict=True)
        if kind.isbuiltin == _BUILT_IN
    }


def _place(tensor: onnx.TensorProto) -> dict[str, str]:
    """Where a tensor's values stand, if not with it."""
    return {e.key: e.value for e in tensor.external_data}


def _mapped(file: Path) -> mmap.mmap:
    try:
        with file.open("rb") as opened:
            return mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:  # deleted, or emptied, after it was checked
        raise BadInput(f"{file} cannot be mapped ({error}); start again") from error

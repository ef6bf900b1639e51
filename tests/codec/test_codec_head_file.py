"""A weight of few bits is packed and widened again to what it was, zeros among two levels included."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import numpy_helper

from isthmus.codec.head_file import _packed, _widen
from isthmus.codec.packing import packed_bytes


@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize(("bits", "unsigned"), [*((bits, False) for bits in range(1, 9)), (8, True)])
def test_a_weight_is_what_it_was(bits: int, unsigned: bool, zeros: bool) -> None:
    """At one bit the levels are -1 and +1, and a channel of zeros needs a third; only 8 bits may be unsigned."""
    top = max(1, (1 << (bits - 1)) - 1)
    whole = np.random.default_rng(bits).integers(-top, top + 1, (6, 5, 3)).astype(np.int16)
    whole[whole == 0] = 1
    whole.flat[:2] = -top, top
    if zeros:
        whole[4] = 0
    values = (whole + 128).astype(np.uint8) if unsigned else whole.astype(np.int8)
    tensor = numpy_helper.from_array(values, "w")
    weight = _packed(tensor, bits)
    assert len(tensor.raw_data) == packed_bytes(values.size, weight.stored_bits)
    assert weight.stored_bits == (2 if bits == 1 and zeros else bits)
    _widen(tensor, weight, Path("head"))
    back = numpy_helper.to_array(tensor)
    assert (tensor.name, back.dtype) == ("w", values.dtype)
    np.testing.assert_array_equal(back, values)

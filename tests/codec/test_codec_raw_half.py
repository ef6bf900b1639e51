"""Raw tensors are views; halves round as IEEE 754 says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from isthmus.codec import Half, Raw
from isthmus.errors import BadFrame, BadInput
from isthmus.quant import SLAB


def test_raw_copies_nothing() -> None:
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    payload = Raw().dump(x)
    assert np.shares_memory(np.frombuffer(payload, np.uint8), x)
    back = Raw().load(payload, (3, 4), "float32")
    assert np.shares_memory(back, x)


def test_raw_keeps_every_bit() -> None:
    x = np.array([0x7FC00001, 0xFFC12345, 0x80000000, 0x7F800000, 1], np.uint32).view(np.float32)
    back = Raw().load(Raw().dump(x), (5,), "float32")
    assert back.tobytes() == x.tobytes()


def test_raw_writes_little_endian() -> None:
    assert bytes(Raw().dump(np.array([1, 2], ">i4"))) == b"\1\0\0\0\2\0\0\0"


def test_raw_refuses_what_cannot_cross() -> None:
    for x in (np.array([None]), np.array(["a"]), np.zeros(2, np.complex64)):
        with pytest.raises(BadInput, match="cannot cross"):
            Raw().dump(x)


def test_raw_refuses_bytes_that_are_no_truth_values() -> None:
    assert Raw().load(memoryview(b"\0\1"), (2,), "bool").tolist() == [False, True]
    with pytest.raises(BadFrame, match="bool"):
        Raw().load(memoryview(b"\0\2"), (2,), "bool")


def test_a_payload_with_gaps_is_refused() -> None:
    with pytest.raises(BadFrame, match="contiguous"):
        Raw().load(memoryview(bytes(16))[::2], (8,), "uint8")


@settings(max_examples=300, deadline=None)
@given(x=arrays(np.float32, st.integers(0, 40), elements=st.floats(width=32)))
def test_half_is_as_near_as_numpys_and_saturates(x: NDArray[np.float32]) -> None:
    with np.errstate(over="ignore"):
        nearest = x.astype(np.float16)
    nearest = np.where(np.isinf(nearest) & np.isfinite(x), np.copysign(np.float16(65504), x), nearest)
    back: NDArray[Any] = Half().load(Half().dump(x), x.shape, "float32")
    finite = np.isfinite(x)
    np.testing.assert_array_equal(back[~finite], x[~finite])
    exact = x[finite].astype(np.float64)
    slack = 2.0**-38
    assert (np.abs(back[finite] - exact) <= np.abs(nearest[finite] - exact) + slack).all()
    np.testing.assert_array_equal(np.signbit(back[~np.isnan(x)]), np.signbit(x[~np.isnan(x)]))


def test_half_reads_and_writes_every_half() -> None:
    every = np.arange(65536, dtype=np.uint16)
    floats = Half().load(every.view(np.uint8).data, (65536,), "float32")
    np.testing.assert_array_equal(floats, every.view(np.float16).astype(np.float32))
    number = ~np.isnan(floats)
    back = np.frombuffer(Half().dump(floats), np.uint16)
    np.testing.assert_array_equal(back[number], every[number])


def test_half_rounds_every_midpoint_away_from_zero() -> None:
    """Ties and their neighbours, between all finite halves: where a hand-made conversion goes wrong."""
    below = np.arange(0x7BFF, dtype=np.uint16).view(np.float16)
    above = np.arange(1, 0x7C00, dtype=np.uint16).view(np.float16)
    middle = ((below.astype(np.float64) + above) / 2).astype(np.float32)

    def halves(x: NDArray[np.float32]) -> NDArray[np.float16]:
        return np.frombuffer(Half().dump(x), np.float16)

    np.testing.assert_array_equal(halves(middle), above)
    np.testing.assert_array_equal(halves(-middle), -above)
    np.testing.assert_array_equal(halves(np.nextafter(middle, np.float32(np.inf))), above)
    normal = middle > 2.0**-14
    np.testing.assert_array_equal(halves(np.nextafter(middle, np.float32(0)))[normal], below[normal])


def test_long_tensors_take_every_slab() -> None:
    x = np.random.default_rng(0).standard_normal(2 * SLAB + 3).astype(np.float32)
    x[-1] = np.inf
    for values in (x, x[:-1]):
        back: NDArray[Any] = Half().load(Half().dump(values), values.shape, "float32")
        np.testing.assert_allclose(back, values, rtol=2**-11, atol=2**-24)

"""Packing is exact, takes the bytes it says and lies planar."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.codec.packing import PLANES, pack, packed_bytes, unpack


@pytest.mark.parametrize("bits", sorted(PLANES))
@settings(max_examples=60, deadline=None)
@given(count=st.integers(0, 70), seed=st.integers(0, 999))
def test_every_symbol_comes_back(bits: int, count: int, seed: int) -> None:
    symbols = np.random.default_rng(seed).integers(0, 1 << bits, count).astype(np.uint8)
    packed = np.full(packed_bytes(count, bits), 0xAA, np.uint8)
    pack(symbols, bits, packed)
    back = np.full(count, 0x55, np.uint8)
    unpack(packed, bits, back)
    np.testing.assert_array_equal(back, symbols)


@pytest.mark.parametrize("bits", sorted(PLANES))
def test_long_tensors_take_just_their_bits(bits: int) -> None:
    assert sum(PLANES[bits]) == bits
    assert packed_bytes(1 << 20, bits) == (1 << 20) * bits // 8
    assert packed_bytes(0, bits) == 0


def test_four_bits_lie_in_halves() -> None:
    out = np.empty(2, np.uint8)
    pack(np.array([1, 2, 3, 4], np.uint8), 4, out)
    assert out.tolist() == [0x31, 0x42]


def test_six_bits_are_a_plane_of_four_and_one_of_two() -> None:
    out = np.empty(3, np.uint8)
    pack(np.array([0b11_0001, 0b10_0010, 0b01_0011, 0b00_0100], np.uint8), 6, out)
    assert out.tolist() == [0x31, 0x42, 0b00_01_10_11]

"""Huffman-coded symbols: the same tensor as without, fewer bytes where levels are uneven, nothing gained from lies."""

from __future__ import annotations

import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from isthmus.codec import Codec, PlanarClip, PlanarRange, make_codec
from isthmus.codec.packing import packed_bytes
from isthmus.errors import BadFrame, BadInput
from isthmus.quant import Calibrator, ChannelClip

BITS = tuple(range(8, 0, -1))
SHAPE = (2, 12, 28, 28)


def clip_of(x: NDArray[np.float32]) -> ChannelClip:
    seen = Calibrator()
    seen.update(x)
    return seen.get()


def features(shape: tuple[int, ...] = SHAPE, seed: int = 0) -> NDArray[np.float32]:
    """Normal values whose neighbours are alike, as features are."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape)
    return ((x + np.roll(x, 1, -1) + np.roll(x, 1, -2)) * rng.uniform(0.1, 9, (1, shape[1], 1, 1))).astype(np.float32)


def written(codec: Codec, x: NDArray[np.float32]) -> bytes:
    return bytes(codec.dump(x))


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("calibrated", [False, True])
def test_the_tensor_is_that_of_the_plain_codec(bits: int, calibrated: bool) -> None:
    """Bit for bit, also where the last byte is not full; over the whole range from
    3 bits up, which plain codes of few bits narrow."""
    for shape in (SHAPE, (1, 3, 5, 1), (1, 3, 1, 1), (3, 1, 3, 3), (0, 3, 2, 2)):
        x = features(shape) if min(shape) else np.zeros(shape, np.float32)
        clip = clip_of(features((2, *shape[1:]), seed=1)) if calibrated else None
        coded = make_codec(f"int{bits}+huffman", clip)
        whole = bits >= 3
        plain = PlanarRange(bits, whole) if clip is None else PlanarClip(bits, clip, whole=whole)
        back = coded.load(memoryview(written(coded, x)), x.shape, "float32")
        wanted = plain.load(memoryview(written(plain, x)), x.shape, "float32")
        np.testing.assert_array_equal(back, wanted)
        assert coded.bound(x) == plain.bound(x)
        assert coded.name == f"{plain.name}+huffman"


@pytest.mark.parametrize("bits", BITS)
def test_bytes_are_fewer_and_near_the_expected_ones(bits: int) -> None:
    """Of rectified features, as most are."""
    x = np.maximum(features((1, 64, 28, 28)), 0)
    coded = make_codec(f"int{bits}+huffman", clip_of(np.maximum(features((8, 64, 28, 28), seed=1), 0)))
    size = len(written(coded, x))
    assert size < 0.9 * packed_bytes(x.size, bits)
    assert size == pytest.approx(coded.payload_bytes(x.shape, 4), rel=0.35)


def test_a_byte_of_neighbours_says_less_than_its_symbols_one_by_one() -> None:
    """Below the entropy of single symbols, which no coder that looks at one symbol at a time can reach."""
    x = features((1, 64, 28, 28))
    x = x + np.roll(x, 2, -1) + np.roll(x, 2, -2)
    clip = clip_of(x)
    _, symbols = make_codec("int2+huffman", clip).base.symbols(x)  # type: ignore[attr-defined]
    shares = np.bincount(symbols, minlength=4) / symbols.size
    single = -(shares * np.log2(shares)).sum() * symbols.size / 8
    assert len(written(make_codec("int2+huffman", clip), x)) < 0.97 * single


def test_noise_costs_no_more_than_it_is() -> None:
    """Evenly spread levels have no shorter code: the stream is at most a few bytes longer than they are."""
    x = np.random.default_rng(0).uniform(-1, 1, (1, 8, 64, 64)).astype(np.float32)
    coded = make_codec("int8+huffman")
    assert len(written(coded, x)) <= 8 + x.size + 5 * (1 + x.size // 16_000) + 11


def test_tiny_tensors_are_not_priced_beyond_what_they_take() -> None:
    for count in (1, 5, 40):
        for name in (f"int{bits}+huffman" for bits in (8, 6, 4, 3, 2)):
            x = np.random.default_rng(0).standard_normal((1, count)).astype(np.float32)
            coded = make_codec(name)
            assert len(written(coded, x)) <= coded.payload_bytes(x.shape, 4)


def test_other_tensors_and_dtypes_are_refused() -> None:
    coded = make_codec("int4+huffman", clip_of(features()))
    with pytest.raises(BadInput, match="float32"):
        coded.dump(np.zeros(SHAPE))
    with pytest.raises(BadInput, match="12 channels"):
        coded.dump(np.zeros((1, 5, 2, 2), np.float32))
    with pytest.raises(BadInput, match="finite"):
        coded.dump(np.full(SHAPE, np.nan, np.float32))
    with pytest.raises(BadFrame, match="float32"):
        coded.load(memoryview(b"abc"), (1, 12, 1, 1), "int8")
    payload = written(coded, features())
    with pytest.raises(BadFrame, match="12 channels"):
        coded.load(memoryview(payload), (2, 28, 12, 28), "float32")


def test_damage_is_noticed() -> None:
    x = features()
    coded = make_codec("int4+huffman", clip_of(x))
    payload = written(coded, x)
    for broken in (payload[:-1], payload + b"\0", b"", payload[: len(payload) // 2]):
        with pytest.raises(BadFrame, match=r"int4\+huffman"):
            coded.load(memoryview(broken), x.shape, "float32")
    with pytest.raises(BadFrame, match="shape"):
        coded.load(memoryview(payload), (2000, 12, 28, 28), "float32")
    with pytest.raises(BadFrame, match="exactly"):
        coded.load(memoryview(payload), (2, 12, 28, 27), "float32")


@pytest.mark.parametrize("bits", [8, 2])
def test_a_bomb_is_refused_before_anything_is_allocated(bits: int) -> None:
    """Sixty-four million zeros in 62 kB: legal deflate, but nothing that was written here."""
    size = 1 << 26
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = bytes(8) + stream.compress(bytes(size)) + stream.flush()
    assert len(bomb) < 100_000
    coded = make_codec(f"int{bits}+huffman")
    shape = (1, size * {8: 1, 2: 4}[bits])
    tracemalloc.start()
    try:
        with pytest.raises(BadFrame, match="cannot be a tensor"):
            coded.load(memoryview(bomb), shape, "float32")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("bits", [8, 2])
def test_of_a_bomb_no_more_is_made_than_was_announced(bits: int) -> None:
    """As long as such a tensor may be, so its length does not tell; it holds a thousand times as much."""
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = bytes(8) + stream.compress(bytes(1 << 26)) + stream.flush()
    shape = (1, (len(bomb) - 8) * {8: 1, 2: 4}[bits])
    tracemalloc.start()
    try:
        with pytest.raises(BadFrame, match="does not hold exactly"):
            make_codec(f"int{bits}+huffman").load(memoryview(bomb), shape, "float32")
        assert tracemalloc.get_traced_memory()[1] < 1 << 22
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["int8+huffman", "int3+huffman", "int2+huffman", "int1+huffman"])
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_hostile_bytes_give_a_tensor_of_the_shape_or_a_bad_frame(name: str, data: st.DataObject) -> None:
    """Anything at all, and a true payload with a few bytes changed: in range where it is taken."""
    shape = data.draw(st.sampled_from([(1, 3, 4, 4), (2, 3, 5, 1), (1, 3, 1, 1), (0, 3, 4, 4)]))
    calibrated = data.draw(st.booleans())
    seen = features((2, 3, 4, 4))
    coded = make_codec(name, clip_of(seen) if calibrated else None)
    payload = bytearray(written(coded, np.resize(seen, shape).astype(np.float32)))
    if data.draw(st.booleans()):
        payload = bytearray(data.draw(st.binary(max_size=80)))
    elif payload:
        for _ in range(data.draw(st.integers(1, 3))):
            payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    try:
        back = coded.load(memoryview(bytes(payload)), shape, "float32")
    except BadFrame:
        return
    assert back.shape == shape
    assert back.dtype == np.float32
    assert np.isfinite(back).all()
    if calibrated and back.size:
        assert seen.min() - 1e-5 <= back.min() <= back.max() <= seen.max() + 1e-5


@pytest.mark.parametrize("bits", [7, 6, 5, 3])
def test_levels_that_the_width_does_not_have_are_refused_or_cut(bits: int) -> None:
    """A byte may hold more than the symbols do."""
    x = features((1, 3, 4, 4))
    clip = clip_of(x)
    stream = zlib.compressobj(1, zlib.DEFLATED, -15, 9, zlib.Z_HUFFMAN_ONLY)
    payload = stream.compress(b"\xff" * (24 if bits == 3 else 48)) + stream.flush()
    coded = make_codec(f"int{bits}+huffman", clip)
    back = coded.load(memoryview(payload), x.shape, "float32")
    assert back.max() <= x.max() * (1 + 1e-6)


def test_codes_are_spent_on_the_whole_range() -> None:
    """A rare value far out comes back within half a step: levels that hardly occur cost hardly any bits."""
    x = features((1, 4, 28, 28))
    x[0, 0, 0, 0] = 3 * x[0, 0].max()
    clip = clip_of(x)
    for clipped in (clip, None):
        coded = make_codec("int3+huffman", clipped)
        back = coded.load(memoryview(written(coded, x)), x.shape, "float32")
        assert back[0, 0, 0, 0] == pytest.approx(float(x[0, 0, 0, 0]), abs=coded.bound(x))
        steps = (x.max(axis=(2, 3)) - x.min(axis=(2, 3))).max() if clipped else x.max() - x.min()
        assert coded.bound(x) < 0.51 * steps / 7
        assert make_codec("int3", clipped).bound(x) > 2 * coded.bound(x)

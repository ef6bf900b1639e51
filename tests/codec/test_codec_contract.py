"""What every codec promises, whatever its name: shape, dtype, length and error as stated before writing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from isthmus.codec import Codec, PictureScale, codec_for, codec_names, make_codec
from isthmus.errors import BadFrame, BadInput
from isthmus.quant import Calibrator, ChannelClip

INTEGER = tuple(name for name in codec_names() if name.startswith("int"))
DTYPES = ("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float64")

floats = st.floats(width=32, allow_nan=False, allow_infinity=False)
ranges = st.sampled_from([1e-44, 1e-38, 1e-30, 1e-3, 1.0, 1e5, 1e30, 3e38])


@st.composite
def tensors(draw: st.DrawFn, least_axes: int = 0) -> NDArray[np.float32]:
    """Any finite float32 tensor: every magnitude mixed, or one magnitude, or nearly constant about a large mean."""
    shape = draw(array_shapes(min_dims=least_axes, max_dims=4, min_side=0, max_side=9))
    kind = draw(st.sampled_from(["mixed", "scaled", "shifted", "constant"]))
    if kind == "mixed":
        return draw(arrays(np.float32, shape, elements=floats))
    if kind == "constant":
        return np.full(shape, draw(floats), np.float32)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    unit = rng.uniform(-1, 1, shape)
    size = draw(ranges)
    if kind == "scaled":
        return (unit * size).astype(np.float32)
    return (size * (0.9 + unit * draw(st.sampled_from([1e-7, 1e-6, 1e-4])))).astype(np.float32)


def clip_of(x: NDArray[np.float32]) -> ChannelClip:
    seen = Calibrator(per_channel=x.ndim >= 2)
    seen.update(x)
    return seen.get()


def keeps_its_word(codec: Codec, x: NDArray[np.float32]) -> NDArray[np.float32]:
    bound = codec.bound(x)
    payload = memoryview(codec.dump(x))
    assert payload.nbytes == codec.payload_bytes(x.shape, x.itemsize)
    back: NDArray[Any] = codec.load(payload, x.shape, "float32")
    assert back.shape == x.shape
    assert back.dtype == np.float32
    error = np.abs(back.astype(np.float64) - x.astype(np.float64)).max(initial=0.0)
    assert error <= bound
    return back


@pytest.mark.parametrize("name", codec_names())
@settings(max_examples=60, deadline=None)
@given(x=tensors())
@example(x=np.array([-3.4028235e38, 3.4028235e38, 0.0], np.float32))
@example(x=np.array([1e-45, 0.0, -0.0, -1e-45], np.float32))
@example(x=np.array([[65504.0, 65519.9, 65520.0, -1e38]], np.float32))
@example(x=np.zeros((2, 0, 3), np.float32))
@example(x=np.float32(7).reshape(()))
def test_error_stays_within_the_bound(name: str, x: NDArray[np.float32]) -> None:
    keeps_its_word(make_codec(name), x)


@pytest.mark.parametrize("name", INTEGER)
@settings(max_examples=60, deadline=None)
@given(data=st.data(), seen=tensors(least_axes=1))
def test_calibrated_error_stays_within_the_bound(name: str, data: st.DataObject, seen: NDArray[np.float32]) -> None:
    if seen.size == 0:
        seen = np.ones([max(1, d) for d in seen.shape], np.float32)
    codec = make_codec(name, clip_of(seen))
    keeps_its_word(codec, seen)
    other = data.draw(arrays(np.float32, seen.shape, elements=floats))
    keeps_its_word(codec, other)


@pytest.mark.parametrize("name", INTEGER)
@pytest.mark.parametrize("shape", [(3, 5, 7, 7), (2, 300, 41), (1, 2, 400, 400), (4, 10), (2, 3, 0, 2), (0, 3, 4)])
@pytest.mark.parametrize("calibrated", [True, False])
def test_large_and_odd_shapes(name: str, shape: tuple[int, ...], calibrated: bool) -> None:
    rng = np.random.default_rng(3)
    scales = rng.uniform(0.1, 10, (1, shape[1], *(1,) * (len(shape) - 2)))
    x = (rng.standard_normal(shape) * scales).astype(np.float32)
    sample = (rng.standard_normal((4, shape[1], 5)) * scales.reshape(1, -1, 1)).astype(np.float32)
    keeps_its_word(make_codec(name, clip_of(sample) if calibrated else None), x)


@pytest.mark.parametrize("name", INTEGER)
def test_bound_is_not_idle(name: str) -> None:
    """The real error comes near the stated bound, so the bound is worth stating."""
    x = np.random.default_rng(0).standard_normal((2, 8, 16, 16)).astype(np.float32)
    for codec in (make_codec(name), make_codec(name, clip_of(x))):
        error = np.abs(keeps_its_word(codec, x) - x).max()
        assert error > 0.9 * codec.bound(x)


@pytest.mark.parametrize("name", codec_names())
@pytest.mark.parametrize("dtype", DTYPES)
def test_other_dtypes_cross_raw_and_exact(name: str, dtype: str) -> None:
    x = np.arange(24).reshape(2, 3, 4).astype(dtype)
    codec = codec_for(name, dtype)
    payload = memoryview(codec.dump(x))
    assert payload.nbytes == codec.payload_bytes(x.shape, x.itemsize) == x.nbytes
    back = codec.load(payload, x.shape, dtype)
    assert back.dtype == x.dtype
    np.testing.assert_array_equal(back, x)


@pytest.mark.parametrize("name", codec_names()[1:])
@pytest.mark.parametrize("dtype", ["float64", "int64", "float16"])
def test_lossy_codecs_refuse_other_dtypes(name: str, dtype: str) -> None:
    with pytest.raises(BadInput, match=dtype):
        make_codec(name).dump(np.zeros((2, 3), dtype))
    with pytest.raises(BadFrame, match=dtype):
        make_codec(name).load(memoryview(bytes(100)), (2, 3), dtype)


@pytest.mark.parametrize("name", codec_names())
def test_strided_input_is_written_as_its_values(name: str) -> None:
    whole = np.random.default_rng(1).standard_normal((4, 6, 5)).astype(np.float32)
    strided = whole[::2].transpose(0, 2, 1)
    codec = make_codec(name)
    assert bytes(codec.dump(strided)) == bytes(codec.dump(strided.copy()))


@pytest.mark.parametrize("name", INTEGER)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("calibrated", [True, False])
def test_integer_codecs_refuse_what_is_not_finite(name: str, bad: float, calibrated: bool) -> None:
    x = np.ones((1, 2, 3), np.float32)
    codec = make_codec(name, clip_of(x) if calibrated else None)
    x[0, 1, 1] = bad
    with pytest.raises(BadInput, match="finite"):
        codec.dump(x)


def lies(name: str) -> list[Codec]:
    both = [make_codec(name)]
    if name in INTEGER:
        both.append(make_codec(name, clip_of(np.ones((2, 3, 4), np.float32))))
    return both


@pytest.mark.parametrize("name", codec_names())
@settings(max_examples=40, deadline=None)
@given(length=st.integers(0, 300), shape=st.lists(st.integers(-2, 2**62), max_size=40).map(tuple))
def test_a_frame_that_lies_is_refused(name: str, length: int, shape: tuple[int, ...]) -> None:
    """Sizes up to 2**248 are announced for 300 bytes: were anything allocated on their word, this test would die."""
    for codec in lies(name):
        try:
            announced = codec.payload_bytes(shape, 4)
        except BadFrame:
            announced = -1
        if announced == length:
            continue
        with pytest.raises(BadFrame):
            codec.load(memoryview(bytes(length)), shape, "float32")


@pytest.mark.parametrize("name", codec_names())
def test_one_byte_too_many_or_too_few_is_refused(name: str) -> None:
    for codec in lies(name):
        x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
        payload = bytes(codec.dump(x))
        codec.load(memoryview(payload), x.shape, "float32")
        for wrong in (payload[:-1], payload + b"\0", b""):
            with pytest.raises(BadFrame, match=str(len(payload))):
                codec.load(memoryview(wrong), x.shape, "float32")


@pytest.mark.parametrize("name", [*codec_names(), "jpeg:75", "webp:80"])
@pytest.mark.parametrize(
    "shape",
    [(-1, 3, 4, 4), (2, 3, True, 4), (1 << 62, 3, 1 << 62, 4), (0, 3, 1 << 62, 4), (1,) * 33],
)
def test_shapes_that_are_none_are_refused(name: str, shape: tuple[int, ...]) -> None:
    scale = PictureScale((0.5,) * 3, (0.5,) * 3)
    with pytest.raises(BadFrame):
        make_codec(name, picture=scale).load(memoryview(b""), shape, "float32")


@pytest.mark.parametrize("dtype", ["object", "O", "<f4", "str", "complex64", "float128", "datetime64", "", "f4,f4"])
def test_dtypes_that_cannot_cross_are_refused(dtype: str) -> None:
    with pytest.raises(BadFrame, match="cannot cross"):
        codec_for("float32", dtype).load(memoryview(bytes(8)), (1,), dtype)


def test_unknown_names_are_refused_with_the_nearest() -> None:
    for wrong, nearest in (("int9", "int"), ("flaot32", "float32"), ("jpg:75", "jpeg:75"), ("webp", "webp:80")):
        with pytest.raises(BadInput, match=f"nearest is {nearest}"):
            make_codec(wrong)
        with pytest.raises(BadInput):
            codec_for(wrong, "int64")
    for wrong in ("", "jpeg:", "jpeg:0", "jpeg:101", "jpeg:٧٥", "webp:-1", "jpeg:7.5", "jpeg:0000075"):
        with pytest.raises(BadInput):
            make_codec(wrong)


@pytest.mark.parametrize("name", codec_names())
def test_names_make_themselves(name: str) -> None:
    assert make_codec(name).name == name
    assert make_codec(name, clip_of(np.ones((2, 3), np.float32))).name == name

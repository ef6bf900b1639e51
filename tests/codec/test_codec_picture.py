"""Picture inputs: mapped back to pixels, framed, and never decoded on their own word."""

from __future__ import annotations

import builtins
import io
import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from isthmus.codec import PictureScale, make_codec
from isthmus.errors import BadFrame, BadInput, Missing

Image = pytest.importorskip("PIL.Image", reason="picture codecs need Pillow")

COLOUR = PictureScale((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
GREY = PictureScale((0.1307,), (0.3081,))
FORMATS = ("jpeg", "webp")


def smooth(shape: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """Pixels that change slowly, (N, H, W, C), another phase for every sample and channel."""
    n, h, w, c = shape
    rows, columns = np.mgrid[0:h, 0:w]
    phase = np.arange(n * c).reshape(n, 1, 1, c) * 1.7
    wave = np.sin(rows[None, :, :, None] / 9 + phase) + np.cos(columns[None, :, :, None] / 7 + phase)
    pixels: NDArray[np.uint8] = np.round(127.5 + 60 * wave).astype(np.uint8)
    return pixels


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("scale", [COLOUR, GREY])
def test_pictures_come_back_nearly(format_: str, scale: PictureScale) -> None:
    x = scale.from_pixels(smooth((3, 40, 56, len(scale.mean))))
    codec = make_codec(f"{format_}:95", picture=scale)
    payload = memoryview(codec.dump(x))
    back: NDArray[Any] = codec.load(payload, x.shape, "float32")
    assert back.shape == x.shape
    assert back.dtype == np.float32
    assert payload.nbytes < x.nbytes / 8
    pixels = np.abs(scale.to_pixels(back).astype(int) - scale.to_pixels(x).astype(int))
    assert pixels.mean() < 6
    other = np.abs(scale.to_pixels(back[::-1]).astype(int) - scale.to_pixels(x).astype(int))[[0, 2]]
    assert other.mean() > 20
    assert codec.bound(x) == np.inf


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 999), mean=st.floats(-2, 2), std=st.floats(0.01, 300))
def test_the_scale_gives_every_pixel_back(seed: int, mean: float, std: float) -> None:
    scale = PictureScale((mean,), (std,))
    pixels = np.random.default_rng(seed).integers(0, 256, (2, 5, 7, 1)).astype(np.uint8)
    np.testing.assert_array_equal(scale.to_pixels(scale.from_pixels(pixels)), pixels)


def test_the_scale_is_the_usual_normalisation() -> None:
    pixels = smooth((1, 4, 4, 3))
    expected = (pixels / 255 - np.array(COLOUR.mean)) / np.array(COLOUR.std)
    np.testing.assert_allclose(COLOUR.from_pixels(pixels), expected.transpose(0, 3, 1, 2), atol=1e-5)


def test_values_beyond_pixels_saturate() -> None:
    x = np.array([-3e38, -1.0, 0.5, 2.0, 3e38], np.float32).reshape(1, 1, 1, 5)
    assert PictureScale((0.0,), (1.0,)).to_pixels(x).reshape(-1).tolist() == [0, 0, 128, 255, 255]


def test_bad_scales_are_refused() -> None:
    for mean, std in (((0.0, 0.0), (1.0, 1.0)), ((0.0,), (1.0,) * 3), ((0.0,), (0.0,)), ((np.nan,), (1.0,))):
        with pytest.raises(BadInput):
            PictureScale(mean, std)
    with pytest.raises(BadInput):
        PictureScale((0.0,), (1.0,), bytes_per_pixel=0.0)


def test_what_is_no_picture_is_refused() -> None:
    codec = make_codec("jpeg:75", picture=COLOUR)
    for shape in ((1, 2, 8, 8), (3, 8, 8), (1, 3, 0, 8), (1, 1, 8, 8)):
        with pytest.raises(BadInput):
            codec.dump(np.zeros(shape, np.float32))
        with pytest.raises(BadInput):
            codec.payload_bytes(shape, 4)
        with pytest.raises(BadFrame):
            codec.load(memoryview(b"abcd"), shape, "float32")
    with pytest.raises(BadInput, match="NaN"):
        codec.dump(np.full((1, 3, 8, 8), np.nan, np.float32))
    with pytest.raises(BadInput, match="PictureScale"):
        make_codec("jpeg:75").dump(np.zeros((1, 3, 8, 8), np.float32))


def test_expected_bytes_follow_measurement_and_quality() -> None:
    shape = (2, 3, 224, 224)
    sizes = [make_codec(f"jpeg:{q}").payload_bytes(shape, 4) for q in (1, 10, 50, 75, 85, 95, 100)]
    assert sizes == sorted(set(sizes))
    assert make_codec("jpeg:75").payload_bytes(shape, 4) == 2 * (4 + math.ceil(0.237 * 224 * 224))
    measured = PictureScale(COLOUR.mean, COLOUR.std, bytes_per_pixel=0.5)
    assert make_codec("jpeg:75", picture=measured).payload_bytes(shape, 4) == 2 * (4 + 224 * 224 // 2)


def encoded(format_: str, size: tuple[int, int], mode: str = "RGB", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, format=format_.upper(), **options)
    return buffer.getvalue()


def framed(*pictures: bytes) -> memoryview:
    return memoryview(b"".join(struct.pack("<I", len(p)) + p for p in pictures))


@pytest.mark.parametrize("format_", FORMATS)
def test_a_bomb_is_refused_before_it_is_decoded(format_: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = encoded(format_, (9000, 9000))
    assert len(bomb) < 2_000_000
    opened: list[Any] = []
    monkeypatch.setattr(Image, "open", lambda *a, **k: opened.append(a))
    codec = make_codec(f"{format_}:75", picture=COLOUR)
    with pytest.raises(BadFrame, match="9000 x 9000 came where 32 x 32"):
        codec.load(framed(bomb), (1, 3, 32, 32), "float32")
    with pytest.raises(BadFrame, match="pixels"):
        codec.load(framed(bomb), (1, 3, 9000, 9000), "float32")
    assert not opened


@pytest.mark.parametrize("format_", FORMATS)
def test_frames_that_lie_are_refused(format_: str) -> None:
    codec = make_codec(f"{format_}:75", picture=COLOUR)
    good = encoded(format_, (32, 24))
    shape = (1, 3, 24, 32)
    codec.load(framed(good), shape, "float32")
    other = encoded("webp" if format_ == "jpeg" else "jpeg", (32, 24))
    wrong = {
        "two for one": framed(good, good),
        "none": framed(),
        "length too long": memoryview(struct.pack("<I", 2**32 - 1) + good),
        "length too short": memoryview(struct.pack("<I", len(good) - 1) + good),
        "cut prefix": memoryview(b"\1\0"),
        "other format": framed(other),
        "png": framed(encoded("png", (32, 24))),
        "empty picture": framed(b""),
        "header only": framed(good[:30]),
        "turned": framed(encoded(format_, (24, 32))),
    }
    for payload in wrong.values():
        with pytest.raises(BadFrame):
            codec.load(payload, shape, "float32")
    with pytest.raises(BadFrame):
        codec.load(framed(good), (2, 3, 24, 32), "float32")


def test_webp_animations_and_extended_files_are_refused() -> None:
    frames = [Image.new("RGB", (32, 24), colour) for colour in ("red", "blue")]
    buffer = io.BytesIO()
    frames[0].save(buffer, format="WEBP", save_all=True, append_images=frames[1:])
    for data in (buffer.getvalue(), encoded("webp", (32, 24), lossless=True)):
        with pytest.raises(BadFrame, match="plain lossy"):
            make_codec("webp:75", picture=COLOUR).load(framed(data), (1, 3, 24, 32), "float32")


@pytest.mark.parametrize("format_", FORMATS)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damaged_pictures_give_a_tensor_or_bad_frame(format_: str, data: st.DataObject) -> None:
    codec = make_codec(f"{format_}:75", picture=COLOUR)
    x = COLOUR.from_pixels(smooth((1, 24, 32, 3)))
    payload = bytearray(codec.dump(x))
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(4, len(payload) - 1))] = data.draw(st.integers(0, 255))
    try:
        back = codec.load(memoryview(payload), x.shape, "float32")
    except BadFrame:
        return
    assert back.shape == x.shape


def test_without_pillow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("PIL"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    codec = make_codec("jpeg:75", picture=COLOUR)
    assert codec.payload_bytes((1, 3, 8, 8), 4) > 0
    with pytest.raises(Missing, match=r"isthmus\[compress\]"):
        codec.dump(np.zeros((1, 3, 8, 8), np.float32))

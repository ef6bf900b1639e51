"""Numbers that know their levels: packed as those levels, and forgotten as soon as anything is done to them."""

from __future__ import annotations

import numpy as np
import pytest

from isthmus.codec import codec_for
from isthmus.quant import Levelled, Steps, levelled, levels_of


def some(bits: int, shape: tuple[int, ...] = (2, 3, 5, 7)) -> tuple[Levelled, Steps]:
    steps = Steps.between(-1.5, 6.0, bits)
    levels = np.random.default_rng(bits).integers(0, steps.levels + 1, shape).astype(np.uint8)
    return levelled(levels, steps), steps


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("coded", ["", "+huffman"])
def test_the_payload_is_that_of_the_same_numbers_without_levels(bits: int, coded: str) -> None:
    x, steps = some(bits)
    codec = codec_for(f"int{bits}{coded}", "float32", steps.clip)
    assert levels_of(x, bits, steps.clip) is not None
    payload = bytes(codec.dump(x))
    assert payload == bytes(codec.dump(np.array(x)))
    again = np.asarray(codec.load(memoryview(payload), x.shape, "float32"), np.float64)
    assert np.abs(again - np.asarray(x, np.float64)).max() < 1e-5, "the same levels, but for rounding"


def test_another_width_or_range_quantises_the_numbers() -> None:
    x, steps = some(4)
    wider = Steps.between(-3.0, 12.0, 4)
    assert levels_of(x, 6, steps.clip) is None
    assert levels_of(x, 4, wider.clip) is None
    for name, clip in (("int6", steps.clip), ("int4", wider.clip), ("int4", None)):
        codec = codec_for(name, "float32", clip)
        assert bytes(codec.dump(x)) == bytes(codec.dump(np.array(x)))


def test_what_is_derived_knows_no_levels_and_nothing_is_written_into_it() -> None:
    x, steps = some(4)
    for derived in (x * 2, x[:1], x.reshape(-1), -x, x.copy()):
        assert levels_of(derived, 4, steps.clip) is None
    with pytest.raises(ValueError, match=r"read-only"):
        x[0] = 1.0
    with pytest.raises(ValueError, match=r"read-only"):
        x *= 2

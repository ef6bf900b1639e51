"""Widths of activations where a maximum over the running order is the limit: one pass against trying everything."""

from __future__ import annotations

import random
from itertools import product

import numpy as np
import pytest

from isthmus.errors import BadInput
from isthmus.quant import alive
from isthmus.quant.alive import Lives, sweep

BITS = (2, 4, 6, 8)


def made(rng: random.Random, count: int, *, literal: bool = False) -> Lives:
    """A tensor a step, each read by one of the next few; now and then the first has a fixed width."""
    last = [min(count - 1, k + rng.choice((1, 1, 1, 2, 3))) for k in range(count)]
    errors = [[10 ** rng.gauss(0, 0.6) * 4.0**-b * rng.uniform(0.6, 1.5) for b in BITS] for _ in range(count)]
    fixed = [8 if k == 0 and rng.random() < 0.5 else 0 for k in range(count)]
    sizes = [int(10 ** rng.uniform(2, 4)) for _ in range(count)]
    return Lives(sizes, BITS, np.array(errors), fixed, list(range(count)), last, count, literal)


def exact(lives: Lives, most: float, steps: int, place: int) -> float | None:
    """The least error of all widths that fit, what is alive after the steps at one width."""
    items = [k for k in range(len(lives.sizes)) if lives.born[k] < steps]
    free = [(lives.bits[place],) if lives.last[k] >= steps else lives.bits for k in items]
    ways = [(lives.fixed[k],) if lives.fixed[k] else way for k, way in zip(items, free, strict=True)]
    best = None
    for chosen in product(*ways):
        widths = [0] * len(lives.sizes)
        for k, b in zip(items, chosen, strict=True):
            widths[k] = b
        if lives.peak_bits(widths, steps) <= most:
            error = error_of(lives, widths)
            best = error if best is None else min(best, error)
    return best


def error_of(lives: Lives, widths: list[int]) -> float:
    return sum(float(lives.errors[k, BITS.index(w)]) for k, w in enumerate(widths) if w and not lives.fixed[k])


def crossing(lives: Lives, steps: int) -> list[int]:
    return [k for k in range(len(lives.sizes)) if lives.born[k] < steps <= lives.last[k]]


@pytest.mark.parametrize("literal", [False, True])
def test_one_pass_finds_the_exact_optimum_for_every_place_to_stop(literal: bool) -> None:
    impossible = tight = 0
    for seed in range(40):
        rng = random.Random(seed)
        lives = made(rng, 5, literal=literal)
        most = lives.peak_bits(lives.uniform(2)) * rng.uniform(0.8, 3.0)
        swept = sweep(lives, most)
        for steps, place in product((2, 5), range(4)):
            best = exact(lives, most, steps, place)
            found = swept.choice(steps, place, crossing(lives, steps))
            assert (found is None) == (best is None), (seed, steps, place)
            if found is None or best is None:
                impossible += 1
                continue
            error, widths = found
            assert error == pytest.approx(best, rel=1e-9)
            assert error_of(lives, widths) == pytest.approx(best, rel=1e-9)
            assert lives.peak_bits(widths, steps) <= most
            assert all(widths[k] in (BITS[place], lives.fixed[k]) for k in crossing(lives, steps))
            tight += best > float(np.min(lives.errors, axis=1)[:steps].sum()) * 1.5
    # the cases are hard: some have no answer, and in most the limit costs something
    assert impossible > 12, impossible
    assert tight > 60, tight


def test_what_is_alone_is_raised_for_nothing() -> None:
    """The first pair needs all there is; the tensor after it may have 8 bits."""
    lives = Lives([100, 100, 50], BITS, np.array([[4.0**-b for b in BITS]] * 3), [0, 0, 0], [0, 1, 2], [1, 1, 2], 3)
    found = sweep(lives, 800).choice(3, 0, [])
    assert found is not None
    assert found[1] == [4, 4, 8]


def test_what_crosses_has_one_width_and_what_stays_its_own() -> None:
    lives = Lives([100, 10], BITS, np.array([[4.0**-b for b in BITS]] * 2), [0, 0], [0, 0], [1, 1], 2)
    found = sweep(lives, 10_000).choice(1, 0, [0])
    assert found is not None
    assert found[1] == [2, 8]


def test_what_crosses_at_the_very_end_has_that_width_too() -> None:
    lives = Lives([100, 10], BITS, np.array([[4.0**-b for b in BITS]] * 2), [0, 0], [0, 1], [1, 1], 2)
    found = sweep(lives, 10_000).choice(2, 1, [1])
    assert found is not None
    assert found[1] == [8, 4]
    freely = sweep(lives, 10_000).choice(2, 1, [])
    assert freely is not None
    assert freely[1] == [8, 8]


def test_a_crowd_shares_one_width(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(3)
    count = 8
    errors = np.array([[10 ** rng.gauss(0, 0.5) * 4.0**-b for b in BITS] for _ in range(count)])
    lives = Lives([100] * count, BITS, errors, [0] * count, [0] * count, [0] * count, 1)
    whole = sweep(lives, 4000).choice(1, 0, [])
    monkeypatch.setattr(alive, "MOST_STATES", 64)
    few = sweep(lives, 4000).choice(1, 0, [])
    assert whole is not None
    assert few is not None
    assert lives.peak_bits(few[1]) <= 4000
    assert whole[0] <= few[0] < float(errors[:, 0].sum())
    assert len(set(few[1])) > 1


def test_peaks_by_hand() -> None:
    lives = Lives([10, 20, 30], BITS, np.zeros((3, 4)), [8, 0, 0], [0, 0, 1], [0, 1, 1], 2)
    assert lives.alive_bits(lives.uniform(4)).tolist() == [10 * 8 + 20 * 4, 20 * 4 + 30 * 4]
    assert lives.peak_bits(lives.uniform(4), 1) == 160
    literal = Lives([10, 20, 30], BITS, np.zeros((3, 4)), [8, 0, 0], [0, 0, 1], [0, 1, 1], 2, literal=True)
    assert literal.alive_bits(literal.uniform(4)).tolist() == [80, 120]


def test_lives_that_make_no_sense_are_refused() -> None:
    with pytest.raises(BadInput, match=r"a size, errors"):
        Lives([10], BITS, np.zeros((2, 4)), [0], [0], [0], 1)
    with pytest.raises(BadInput, match=r"not backwards"):
        Lives([10], BITS, np.zeros((1, 4)), [0], [1], [0], 2)

"""Made-up traces: constant, hand-written steps, a seeded Markov chain."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from isthmus.errors import BadInput
from isthmus.link.trace import MAX_SAMPLES, Floats, Trace
from isthmus.units import is_whole, rate_bps, seconds

_OUTAGE = ("0", "down", "outage")
_MOST_NOISE = 10
"""A sample in a hundred is then 10 orders of magnitude off."""


def constant(rate: str | float) -> Trace:
    """One rate for ever (`0` is an outage).

    >>> constant("20Mbit").rate_at(1e6)
    20000000.0
    """
    return Trace.of([0.0], [_rate(rate)])


def steps(text: str, *, loop: bool = False) -> Trace:
    """A trace from `rate:duration` pieces; a rate of `0` is an outage. Raises BadInput.

    >>> steps("20Mbit:10s,0:2s,1Mbit:5s").rate_at(11)
    0.0
    >>> steps("20Mbit:10s,0:2s,1Mbit:5s").duration_s
    17.0
    """
    times, rates, now = [], [], 0.0
    for piece in text.split(","):
        rate, colon, duration = piece.partition(":")
        if not colon:
            raise BadInput(f"'{piece.strip()}' is no step; write rate:duration, as in 20Mbit:10s,1Mbit:5s")
        held = seconds(duration)
        if held <= 0:
            raise BadInput(f"the step '{piece.strip()}' must last longer than 0 s")
        times.append(now)
        rates.append(_rate(rate))
        now += held
    return Trace.of(times, rates, duration_s=now, loop=loop)


def markov(
    states_bps: Sequence[float],
    stay_s: float,
    duration_s: float,
    *,
    seed: int,
    step_s: float = 1.0,
    noise: float = 0.0,
    loop: bool = False,
) -> Trace:
    """A Markov chain over rates: every `step_s` it stays with probability 1 - step_s/stay_s, otherwise it moves to
    one of the other states, all equally likely. noise: standard deviation of log-normal noise on every sample.
    Raises BadInput for numbers that make no such chain, a seed below 0 among them.

    >>> markov([1e6, 20e6], stay_s=10, duration_s=60, seed=1).summary()["samples"]
    60.0
    """
    if not (step_s > 0 and 0.5 < duration_s / step_s <= MAX_SAMPLES):
        raise BadInput(
            f"a Markov trace of {duration_s:g} s in steps of {step_s:g} s: it needs 1 to {MAX_SAMPLES} samples"
        )
    if len(states_bps) < 2 or not stay_s >= step_s or not 0 <= noise <= _MOST_NOISE or not is_whole(seed, 0, 2**63):
        raise BadInput(
            f"a Markov trace needs at least two states, stay_s ≥ step_s, noise from 0 to {_MOST_NOISE} and seed ≥ 0"
        )
    count = round(duration_s / step_s)
    rng = np.random.default_rng(seed)
    moves = np.where(rng.random(count) < step_s / stay_s, rng.integers(1, len(states_bps), count), 0)
    moves[0] = rng.integers(len(states_bps))
    states = np.cumsum(moves) % len(states_bps)
    with np.errstate(over="ignore"):  # an infinite rate is refused
        rates: Floats = np.asarray(states_bps, np.float64)[states] * np.exp(noise * rng.standard_normal(count))
    return Trace(np.arange(count, dtype=np.float64) * step_s, rates, count * step_s, loop)


def _rate(text: str | float) -> float:
    if isinstance(text, str) and text.strip().lower() in _OUTAGE:
        return 0.0
    return 0.0 if text == 0 else rate_bps(text)

"""Bandwidth states of made-up traces whose levels are known."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from isthmus.adapt import ChangePoints, bandwidth_states, belief_spread, segments
from isthmus.errors import BadInput
from isthmus.link import Trace


def levels(rng: random.Random, *steps: tuple[float, int]) -> Trace:
    """A trace that keeps each level for so many seconds, with 3 % of noise."""
    rates = [bps * rng.gauss(1, 0.03) for bps, seconds in steps for _ in range(seconds)]
    return Trace.of(range(len(rates)), rates, duration_s=len(rates))


def test_segments_lie_between_the_steps_and_hold_their_means() -> None:
    for seed in range(20):
        trace = levels(random.Random(seed), (8e6, 40), (2e6, 50), (20e6, 30))
        found = segments(trace)
        assert [seconds for _, seconds in found] == [40, 50, 30]
        assert [bps for bps, _ in found] == pytest.approx([8e6, 2e6, 20e6], rel=0.03)


def test_one_stalled_sample_is_no_segment() -> None:
    trace = levels(random.Random(1), (8e6, 30), (0.2e6, 1), (8e6, 30))
    assert len(segments(trace)) == 1


def test_a_change_that_was_taken_back_is_no_border() -> None:
    rates = [8e6] * 20 + [2e6, 2.4e6] + [8e6] * 20
    found = ChangePoints()
    begins = [count - found.age for count, bps in enumerate(rates, 1) if found.update(math.log(bps))]
    assert begins != sorted(begins)  # the detector did go back
    assert len(segments(Trace.of(range(len(rates)), rates, duration_s=len(rates)))) == 1


def test_segments_cover_the_trace_also_where_the_detector_changes_its_mind() -> None:
    for seed in range(60):
        rng = random.Random(seed)
        rates = [10 ** rng.choice((6.0, 6.05, 6.2, 6.6)) * rng.lognormvariate(0, 0.25) for _ in range(80)]
        found = segments(Trace.of(range(80), rates, duration_s=80))
        assert sum(seconds for _, seconds in found) == 80
        assert sum(bps * seconds for bps, seconds in found) == pytest.approx(sum(rates))


def test_close_means_are_one_state_weighed_by_time() -> None:
    rng = random.Random(4)
    traces = [levels(rng, (8e6, 90), (1e6, 30)), levels(rng, (8.4e6, 30), (40e6, 30))]
    assert bandwidth_states(traces) == pytest.approx([1e6, 8.1e6, 40e6], rel=0.02)
    assert len(bandwidth_states(traces, apart=0.01)) == 4


def test_outages_are_no_state() -> None:
    trace = Trace.of([0, 30, 60], [8e6, 0, 8e6], duration_s=90)
    assert bandwidth_states([trace]) == pytest.approx([8e6])


def test_what_has_no_states() -> None:
    with pytest.raises(BadInput, match=r"carry nothing at any time"):
        bandwidth_states([Trace.of([0], [0.0], duration_s=60)])
    with pytest.raises(BadInput, match=r"states need traces"):
        bandwidth_states([])
    with pytest.raises(BadInput, match=r"not every 0"):
        segments(Trace.of([0], [1e6]), every_s=0)
    with pytest.raises(BadInput, match=r"take fewer traces, or a sample every 5 s"):
        bandwidth_states([Trace.of([0], [1e6], duration_s=1e6)])


def test_the_spread_is_what_came_after_what_was_believed() -> None:
    """Against the detector, sample by sample."""
    rng = np.random.default_rng(4)
    rates = np.exp(np.log(5e6) + 0.3 * rng.standard_normal(400) - 1.5 * (np.arange(400) // 100 % 2))
    trace = Trace.of(list(range(400)), rates.tolist(), duration_s=400)
    found = belief_spread([trace], count=5)
    detector, off = ChangePoints(), []
    for k, rate in enumerate(rates):
        if k:
            off.append(rate / math.exp(detector.mean))
        detector.update(math.log(rate))
    assert found == pytest.approx(np.exp(np.quantile(np.log(off), [0.1, 0.3, 0.5, 0.7, 0.9])).tolist())
    assert list(found) == sorted(found)
    assert 0.5 < found[0] < 0.85
    assert found[2] == pytest.approx(1, abs=0.1)


def test_a_spread_needs_two_samples() -> None:
    with pytest.raises(BadInput, match=r"no two samples one after the other"):
        belief_spread([Trace.of([0.0], [1e6])])
    with pytest.raises(BadInput, match=r"no two samples one after the other"):
        belief_spread([Trace.of([0, 1, 2], [0, 0, 0])])
    for words in ({"every_s": 0.0}, {"count": 0}):
        with pytest.raises(BadInput, match=r"a spread needs traces"):
            belief_spread([Trace.of([0.0], [1e6])], **words)

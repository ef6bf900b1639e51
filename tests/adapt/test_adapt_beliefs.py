"""What is believed of link, machines and server: robust, bounded, ageing."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.adapt import Bandwidth, Health, LoadFactor, Recent
from isthmus.adapt.load import HIGHEST, LOWEST
from isthmus.errors import BadInput

anything = st.floats(allow_nan=True, allow_infinity=True)


@given(st.lists(anything, max_size=30))
def test_no_sample_breaks_the_belief_about_the_link(samples: list[float]) -> None:
    link = Bandwidth(5e6)
    for t, sample in enumerate(samples):
        link.observe(sample, t)
    assert 1e3 / 2 < link.bps < 2e11
    assert 0 <= link.doubt <= 1
    assert 0 < link.low_bps(100.0) <= max(link.bps, 1e3)


def test_samples_beyond_reason_are_not_counted() -> None:
    link = Bandwidth(5e6)
    for sample in (0, -1, 1, 1e12, math.nan, math.inf):
        assert link.observe(sample, 1.0) is False
    assert (link.samples, link.bps, link.age_s(9.0)) == (0, 5e6, math.inf)


def test_the_first_sample_outweighs_the_starting_guess_and_age_makes_unsure() -> None:
    link = Bandwidth(100e6)
    link.observe(2e6, 1.0)
    assert link.bps == pytest.approx(2e6, rel=0.02)
    assert link.low_bps(1.0) < link.bps
    lows = [link.low_bps(t) for t in (1.0, 10.0, 100.0, 1e6)]
    assert lows == sorted(lows, reverse=True)
    assert lows[-1] > 0.1 * link.bps
    with pytest.raises(BadInput):
        Bandwidth(0)


@given(st.lists(st.tuples(anything, anything), max_size=20))
def test_no_time_breaks_the_load(pairs: list[tuple[float, float]]) -> None:
    load = LoadFactor()
    for t, (measured, profiled) in enumerate(pairs):
        load.observe(measured, profiled, t)
    assert LOWEST <= load.at(len(pairs)) <= HIGHEST


def test_load_rises_and_falls_in_three_samples_and_one_hiccup_is_nothing() -> None:
    load = LoadFactor()
    for t in range(5):
        load.observe(0.1, 0.1, t)
    load.observe(3.0, 0.1, 5)
    assert load.at(5) == pytest.approx(1, rel=0.01)
    for t in (6, 7):
        load.observe(0.4, 0.1, t)
    assert load.at(7) == pytest.approx(4, rel=0.01)
    for t in (8, 9, 10):
        load.observe(0.1, 0.1, t)
    assert load.at(10) == pytest.approx(1, rel=0.01)


def test_a_faster_server_is_believed_and_does_not_fade() -> None:
    load = LoadFactor()
    load.observe(0.05, 0.1, 0)
    assert load.at(0) == load.at(1e6) == pytest.approx(0.5, rel=0.01)


def test_recent_refuses_nonsense_and_keeps_without_rest() -> None:
    rtt = Recent(0.02)
    rtt.observe(math.nan, 0)
    rtt.observe(-1, 0)
    rtt.observe(1e300, 0)
    assert rtt.at(5) == 0.02
    rtt.observe(0.5, 0)
    assert rtt.at(1e9) == 0.5
    assert rtt.least == 0.02
    with pytest.raises(BadInput):
        Recent(1.0, half_life_s=0)


def test_health_ignores_old_failures_and_old_answers() -> None:
    server, down = Health(), []
    server.failed(began_s=1.0, now_s=1.2, probe=False)
    server.answered(began_s=1.1, now_s=1.3, probe=False)  # sent before we knew
    down.append(server.down)
    server.answered(began_s=1.3, now_s=1.4, probe=True)
    down.append(server.down)
    server.failed(began_s=1.15, now_s=1.5, probe=False)  # in flight when the trouble began
    down.append(server.down)
    assert down == [True, False, False]


def test_probes_slow_down_to_half_a_second_and_no_further() -> None:
    server = Health()
    server.failed(began_s=0, now_s=0.2, probe=False)
    gaps = []
    for n in range(6):
        gaps.append(server.probe_gap_s)
        server.failed(began_s=1.0 + n, now_s=1.5 + n, probe=True)
    assert gaps == [0.1, 0.2, 0.4, 0.5, 0.5, 0.5]


def test_a_server_that_takes_probes_and_loses_requests_is_held_back_longer_each_time() -> None:
    server, now, holds = Health(), 0.0, []
    for _ in range(6):
        now += 1
        server.failed(began_s=now, now_s=now, probe=False)
        begin = now
        while server.down:
            now += 0.125
            server.answered(began_s=now, now_s=now, probe=True)
        holds.append(now - begin)
    assert holds == [0.125, 1.0, 2.0, 4.0, 8.0, 8.0]
    server.answered(began_s=now, now_s=now, probe=False)
    server.failed(began_s=now + 1, now_s=now + 1, probe=False)
    server.answered(began_s=now + 2, now_s=now + 2, probe=True)
    assert not server.down


def test_a_server_that_never_answers_a_request_is_held_back_no_longer_than_the_longest() -> None:
    server, held = Health(), []
    for n in range(2000):
        failed_s = 10.0 * n
        server.failed(began_s=failed_s, now_s=failed_s, probe=False)
        for after_s in (7.9, 8.0):
            server.answered(began_s=failed_s + after_s, now_s=failed_s + after_s, probe=True)
            held.append(server.down)
    assert held[-2:] == [True, False]
    assert held[1::2] == [False] * 2000

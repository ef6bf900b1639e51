"""How unsure a belief is, and how that grows and ends: in numbers, where a wrong one would still look like a belief."""

from __future__ import annotations

import math

import numpy as np
import pytest

from isthmus.adapt import Bandwidth
from isthmus.adapt.bandwidth import DRIFT, MAX_SD
from isthmus.adapt.downlink import Downlink
from isthmus.adapt.server import AGAIN_S, RARELY_S, Server


def steady(bps: float = 20e6, count: int = 30) -> Bandwidth:
    link = Bandwidth(10e6)
    for _ in range(count):
        link.observe(bps, 0.0)
    return link


def test_what_is_old_is_worth_less_by_the_drift_there_may_have_been() -> None:
    """Of log bandwidth that drifts with a variance of DRIFT² a second, e^(variance / 2) is the mean seconds a bit."""
    link = steady()
    for age_s in (1.0, 10.0, 100.0):
        assert link.worth_bps(age_s) == pytest.approx(link.worth_bps(0.0) * math.exp(-0.5 * DRIFT**2 * age_s))
    assert link.worth_bps(1e9) == pytest.approx(link.worth_bps(0.0) * math.exp(-0.5 * MAX_SD**2))


def test_of_a_single_sample_the_mean_is_unsure_too() -> None:
    one, many = steady(count=1), steady()
    assert one.sd(0.0) == pytest.approx(math.hypot(one._changes.sd, one._changes.sd_of_mean))
    assert one.sd(0.0) > 1.3 * one._changes.sd
    assert many.sd(0.0) < 1.1 * many._changes.sd


def test_what_was_never_seen_cannot_be_confirmed() -> None:
    link = Bandwidth(5e6)
    link.confirm(3.0)
    assert (link.last_s, link.age_s(3.0), link.sd(3.0)) == (None, math.inf, MAX_SD)


def test_the_low_end_of_the_downlink_moves_with_the_uplink_as_its_mean_does() -> None:
    up = Bandwidth(10e6)
    down = Downlink(up, share=1.0)
    for t in range(6):
        up.observe(10e6, t)
        down.observe(5e6, t)
    before = down.low_bps(6.0)
    for t in (6, 7):
        up.observe(2e6, t)
    assert down.low_bps(6.0) == pytest.approx(before / 5, rel=0.05)


def test_a_server_that_stays_busy_is_never_asked_more_rarely_than_that() -> None:
    """Each time it says that it is busy still: without that its load has faded before the gaps are long."""
    server, asked = Server(), [0.0]
    server.worked(0.4, 0.01, 0.0)
    for now_s in np.arange(0.0, 400.0, 0.5).tolist():
        if server.is_old(now_s):
            server.asked(now_s)
            server.worked(0.4, 0.01, now_s)
            asked.append(now_s)
    gaps = np.diff(asked).tolist()
    assert gaps[0] == AGAIN_S
    assert gaps[-5:] == [RARELY_S] * 5

"""The guard over the forecasts: after what was lost, no gambling further than the best choice that never changes."""

from __future__ import annotations

import random

import numpy as np
import pytest
from chooser_rig import MS, TABLE, settled, step

from isthmus.adapt import TableChooser
from isthmus.adapt.hindsight import MEMORY, Hindsight
from isthmus.graph.types import OUTPUT
from isthmus.record.types import Evidence, Seconds, Step

BYTES = np.array([300e3, 30e3, 0.0])
EVERY = np.arange(3)
GOOD = np.array([0.2, 0.08, 0.1])
BAD = np.array([0.9, 0.18, 0.1])
FORECAST = np.array([0.2, 0.085, 0.1])


def burnt(times: int = 3) -> Hindsight:
    """The device is the best that never changes; that many late answers, less one, count as lost to it."""
    guard = Hindsight(BYTES)
    for _ in range(times):
        guard.settle(BAD, 0.18, 1, 1)
    return guard


def held_for(guard: Hindsight) -> int:
    """How many good requests on the device it takes until the middle choice is taken for a forecast of 0.085 s."""
    count = 0
    while 1 not in guard.rows(FORECAST, EVERY):
        guard.settle(GOOD, 0.1, 2, 1)
        count += 1
        assert count < 100, "it is held back for ever"
    return count


def test_nothing_is_held_back_while_nothing_is_lost() -> None:
    guard = Hindsight(BYTES)
    assert guard.rows(FORECAST, EVERY).tolist() == [0, 1, 2]
    for _ in range(50):
        guard.settle(GOOD, 0.08, 1, 1)
    assert guard.leader == 1
    assert not any(side.careful or side.lost for side in guard.sides)


def test_what_was_lost_is_paid_for_with_caution() -> None:
    guard = burnt()
    assert guard.leader == 2
    assert guard.rows(FORECAST, EVERY).tolist() == [2]
    assert guard.rows(FORECAST, np.array([0, 1])).tolist() == [0, 1], "of two that both send, one must be taken"


def test_a_gain_that_is_worth_it_is_taken_at_once() -> None:
    assert burnt().rows(np.array([0.2, 0.08, 0.9]), EVERY).tolist() == [0, 1, 2]


def test_caution_ends_once_it_has_cost_enough_and_the_more_was_lost_the_later() -> None:
    assert 2 < held_for(burnt(2)) < held_for(burnt(3)) < held_for(burnt(4))


def test_who_lost_by_sending_less_stays_but_for_a_fall() -> None:
    guard = Hindsight(BYTES)
    for _ in range(5):
        guard.settle(GOOD, 0.1, 2, 2)
    assert guard.leader == 1
    assert guard.rows(np.array([0.2, 0.11, 0.1]), EVERY).tolist() == [0, 1], "a little is no reason to leave"
    assert guard.rows(np.array([0.9, 0.3, 0.1]), EVERY).tolist() == [0, 1, 2], "a fall is, at once"


@pytest.mark.parametrize("seed", range(5))
def test_what_is_lost_is_the_sum_over_all_requests_faded(seed: int) -> None:
    """Against adding up the whole history afresh."""
    rng, guard = random.Random(seed), Hindsight(BYTES)
    fixed: list[np.ndarray] = []
    lost: list[tuple[float, float]] = []
    leaders = set()
    for number in range(60):
        seconds = np.array([rng.uniform(0.1, 0.3), rng.uniform(0.02, 0.1) if number < 20 else 0.3, 0.12])
        row = rng.randrange(3)
        took_s = seconds[row] + rng.uniform(0.0, 0.2)
        weights = [(1 - 1 / MEMORY) ** k for k in range(len(fixed))][::-1]
        if fixed:
            sums = np.array(weights) @ np.array(fixed)
            best = int(np.argmin(sums))
            leaders.add(best)
            above = (took_s - seconds[best]) / (sums[best] / sum(weights))
            lost.append((above * (BYTES[row] > BYTES[best]), above * (BYTES[row] < BYTES[best])))
        fixed.append(seconds)
        guard.settle(seconds, took_s, row, row)
        for k, side in enumerate(guard.sides):
            faded = sum(w * one[k] for w, one in zip(weights[-len(lost) :] if lost else (), lost, strict=True))
            assert side.lost == pytest.approx(faded)
    assert len(leaders) > 1, "the case is easy: the leader never changed"


def late(t_s: float, cut: str, took_s: float) -> Step:
    return step(t_s, cut, trouble="no answer", total=took_s).model_copy(update={"asked": cut, "cut": OUTPUT})


def told(now_s: float, bps: float) -> Step:
    return step(now_s, "", probe=True, up_bps=bps, total=0.0)


def gamble(chooser: TableChooser, now_s: float) -> tuple[float, list[str]]:
    """Ten times the link looks good until something is sent. Returns (now, the cuts asked for)."""
    cuts = []
    for _ in range(10):
        for k in range(6):
            chooser.observe(told(now_s + 0.1 * k, 8e6))
        cuts.append(chooser.choose(now_s + 0.7).cut)
        if cuts[-1] == OUTPUT:
            here = Seconds(total=120 * MS, local=120 * MS)
            chooser.observe(step(now_s + 0.7, OUTPUT).model_copy(update={"seconds": here}))
        else:
            chooser.observe(late(now_s + 0.7, cuts[-1], 190 * MS))
            chooser.observe(told(now_s + 1.0, 8e6))
        now_s += 1.4
    return now_s, cuts


def test_a_link_that_falls_whenever_it_is_used_is_soon_left_alone() -> None:
    """Every late answer costs more than half a request, every good forecast promises a tenth of one."""
    chooser = TableChooser(TABLE)
    now_s, cuts = gamble(chooser, 0.0)
    sent = len(cuts) - cuts.count(OUTPUT)
    assert 1 <= sent <= 3, cuts
    for k in range(8):
        chooser.observe(told(now_s + 0.1 * k, 90e6))
    chooser.observe(step(now_s + 1, OUTPUT).model_copy(update={"seconds": Seconds(total=0.12, local=0.12)}))
    later = []
    for k in range(6):
        chooser.observe(told(now_s + 2 + k, 90e6))
        later.append(chooser.choose(now_s + 2.5 + k).cut)
        evidence = Evidence(up_bps=90e6)
        chooser.observe(step(now_s + 2.5 + k, later[-1]).model_copy(update={"evidence": evidence, "up_bytes": 1}))
    assert later[-1] != OUTPUT, "a link that has become good for good is used again"


def test_a_request_that_somebody_else_decided_is_not_counted() -> None:
    chooser = settled(60e6)
    before = [side.lost for side in chooser._size.hindsight.sides]
    for t in range(5, 15):
        chooser.choose(t)
        chooser.observe(step(t, OUTPUT, total=3.0))
    assert [side.lost for side in chooser._size.hindsight.sides] == before

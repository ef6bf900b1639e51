"""The guard over the forecasts: no request is risked that may cost more than is left to lose."""

from __future__ import annotations

import random

import numpy as np
import pytest
from chooser_rig import MS, TABLE, settled, step
from numpy.typing import NDArray

from isthmus.adapt import TableChooser
from isthmus.adapt.hindsight import FIRST, SHARE, Hindsight
from isthmus.graph.types import OUTPUT
from isthmus.record.types import Evidence, Seconds, Step

Times = NDArray[np.float64]
EVERY = np.arange(3)
GOOD = np.array([0.2, 0.08, 0.1])
BAD = np.array([0.9, 0.15, 0.1])
CASES = np.stack([GOOD, BAD])
"""The device alone takes 0.1 s; the middle choice a fifth less, or, where the link falls, half as long again."""


def after(*requests: tuple[Times, int]) -> Hindsight:
    """A guard that has seen these: what every choice took, and which one was taken."""
    guard = Hindsight(3)
    for seconds, row in requests:
        guard.settle(seconds, float(seconds[row]), float(seconds[row]))
    return guard


def left(guard: Hindsight, cases: Times = CASES, among: NDArray[np.intp] = EVERY) -> list[int]:
    """What the guard leaves of these; the forecast is for the middle choice."""
    found: list[int] = guard.rows(cases, among, free=1).tolist()
    return found


def test_before_anything_is_known_nothing_is_held_back() -> None:
    assert left(Hindsight(3)) == [0, 1, 2]


def test_a_first_fall_is_risked_a_second_is_not() -> None:
    assert 1 in left(after((GOOD, 1)))
    assert left(after((GOOD, 1), (BAD, 1))) == [2]


def test_a_request_is_charged_before_it_is_made() -> None:
    """What is left covers a small loss, not that of a fall."""
    guard = after((BAD, 1), *[(np.array([0.2, 0.1, 0.1]), 2)] * 3)
    assert guard.lost_s[2] == pytest.approx(0.05)
    assert 1 in left(guard, np.stack([GOOD, np.array([0.5, 0.115, 0.1])]))
    assert 1 not in left(guard)


def test_what_was_gained_may_be_risked() -> None:
    gained = [(GOOD, 1)] * 10
    assert 1 in left(after(*gained, (BAD, 1), (BAD, 1)))


def test_of_all_that_was_spent_a_hundredth_may_be_lost() -> None:
    """200 requests on the device, of which all choices took as long: then two requests' worth."""
    even = np.full(3, 0.1)
    guard = after(*[(even, 2)] * 200, (BAD, 1))
    assert guard.allowed_s == pytest.approx(SHARE * (200 * 0.1 + 0.15))
    assert 1 in left(guard)


def test_whoever_stays_too_long_moves_although_the_link_may_fall() -> None:
    """After a fall, good requests on the device are lost to the choice that sends; at some point that is the worse."""
    seen = [(GOOD, 1), (BAD, 1)]
    while 1 not in left(after(*seen)) and len(seen) < 30:
        seen.append((GOOD, 2))
    assert 4 <= len(seen) <= 10


def test_caution_ends_once_it_has_forgone_enough() -> None:
    """The choice that sends is hopeless where it never changes, and the forecasts, which change, gain a fifth."""
    guard = after((GOOD, 1), (BAD, 1))
    guard.settle(np.array([9.0, 9.0, 0.1]), 0.1, 0.1)
    count = 0
    while left(guard) == [2]:
        guard.settle(GOOD, 0.1, free_s=0.08)
        count += 1
        assert count < 100, "it is held back for ever"
    assert 0.5 < 0.02 * count / 0.1 < 1.5


def test_one_of_those_that_come_into_question_is_always_left() -> None:
    guard = after((GOOD, 1), (BAD, 1))
    assert left(guard, among=np.array([0, 1])) == [1], "of two that both send"


@pytest.mark.parametrize("seed", range(20))
def test_what_is_risked_is_what_trying_all_says(seed: int) -> None:
    """Against a loop over every case and every pair of choices, and the sums afresh from the whole history."""
    rng = np.random.default_rng(seed)
    choices, cases = int(rng.integers(1, 6)), rng.uniform(0.01, 1.0, (3, 1))
    cases = cases * rng.uniform(0.5, 2.0, (3, choices))
    past = [(rng.uniform(0.01, 1.0, choices), int(rng.integers(choices))) for _ in range(25)]
    guard = Hindsight(choices)
    for seconds, row in past:
        guard.settle(seconds, float(seconds[row]), free_s=0.3)
    took_s = sum(seconds[row] for seconds, row in past)
    alone_s = [sum(seconds[i] for seconds, _ in past) for i in range(choices)]
    for free in range(choices):
        rivals = [*zip(alone_s, range(choices), strict=True), (25 * 0.3, free)]
        for a in range(choices):
            worst = max(took_s + case[a] - alone - case[i] for case in cases for alone, i in rivals)
            assert guard.risk_s(cases, free)[a] == pytest.approx(worst)
    assert guard.allowed_s == pytest.approx(max(FIRST * min(alone_s) / 25, SHARE * took_s))


def against(seed: int, guarded: bool) -> tuple[float, int]:
    """300 requests on a link that is made to hurt: (by how much too much was lost at worst, requests' worth; how often
    the guard held something back). The forecast's best is taken, of what the guard leaves; then the link does with odds
    that are drawn what costs most, or anything between two cases."""
    rng = np.random.default_rng(seed)
    choices = int(rng.integers(2, 6))
    guard, spite = Hindsight(choices), rng.uniform(0.0, 1.0)
    every, above, held = np.arange(choices), -np.inf, 0
    for _ in range(300):
        cases = rng.uniform(0.5, 1.5, choices) * rng.uniform(0.5, 3.0, (4, choices)) * 0.1
        cases[:, -1] = 0.1  # the device alone
        free = int(np.argmin(cases[0]))
        few = guard.rows(cases, every, free)
        held += free not in few
        kept = max(guard.allowed_s, float(guard.risk_s(cases, free).min()))
        row = int(few[np.argmin(cases[0, few])]) if guarded else free
        if rng.random() < spite:
            seconds = cases[np.argmax(cases[:, row] - cases.min(axis=1))]
        else:
            share, (one, other) = rng.random(), rng.integers(4, size=2)
            seconds = share * cases[one] + (1 - share) * cases[other]
        guard.settle(seconds, float(seconds[row]), float(seconds[free]))
        above = max(above, (float(guard.lost_s.max()) - kept) / 0.1)
    return above, held


@pytest.mark.parametrize("seed", range(40))
def test_what_it_promises_holds_on_every_sequence(seed: int) -> None:
    above, held = against(seed, guarded=True)
    assert above <= 1e-6
    assert held, "the case is easy: nothing was ever held back"


def test_without_the_guard_it_does_not_hold() -> None:
    assert sum(against(seed, guarded=False)[0] > 1.0 for seed in range(40)) > 20


@pytest.mark.parametrize("seed", range(10))
def test_no_more_is_lost_to_the_device_than_is_allowed_where_that_is_the_best(seed: int) -> None:
    """A link that always promises a tenth and falls as often as takes that back: whoever goes by the forecast is far
    above 1 % in the end, the guard within it."""
    rng, guard, gambler_s, took_s = random.Random(seed), Hindsight(2), 0.0, 0.0
    cases = np.array([[0.09, 0.1], [0.17, 0.1]])
    for _ in range(400):
        seconds = cases[int(rng.random() < 0.25)]
        row = int(guard.rows(cases, np.arange(2), free=0)[0])
        guard.settle(seconds, float(seconds[row]), float(seconds[0]))
        took_s += float(seconds[row])
        gambler_s += float(seconds[0])
    assert took_s <= 0.1 * 400 + max(FIRST * 0.1, SHARE * took_s) + 1e-9
    assert gambler_s > 1.02 * 0.1 * 400


def test_no_rule_keeps_within_a_hundredth_of_two_that_fail_in_turn() -> None:
    """The limit of what can be asked: a link that falls whenever it is used, and only then."""
    guard, took_s, fixed_s = Hindsight(2), 0.0, np.zeros(2)
    cases = np.array([[0.08, 0.1], [0.17, 0.1]])
    rows = []
    for _ in range(400):
        rows.append(int(guard.rows(cases, np.arange(2), free=0)[0]))
        seconds = cases[1 - rows[-1]]
        guard.settle(seconds, float(seconds[rows[-1]]), float(seconds[0]))
        took_s, fixed_s = took_s + float(seconds[rows[-1]]), fixed_s + seconds
    assert set(rows) == {0, 1}
    assert took_s > 1.05 * float(fixed_s.min())


def late(t_s: float, cut: str, took_s: float) -> Step:
    made = step(t_s, cut, trouble="no answer", total=took_s)
    return made.model_copy(update={"asked": cut, "cut": OUTPUT, "up_bytes": 30_000})


def told(now_s: float, bps: float) -> Step:
    return step(now_s, "", probe=True, up_bps=bps, total=0.01)


def gamble(chooser: TableChooser, now_s: float) -> tuple[float, list[str]]:
    """Ten times the link looks good until something is sent. Returns (now, the cuts asked for)."""
    cuts = []
    for _ in range(10):
        for k in range(6):
            chooser.observe(told(now_s + 0.1 * k, 8e6))
        choice = chooser.choose(now_s + 0.7)
        cuts.append(OUTPUT if choice.beside else choice.cut)
        if cuts[-1] == OUTPUT:
            here = Seconds(total=120 * MS, local=120 * MS)
            chooser.observe(step(now_s + 0.7, OUTPUT).model_copy(update={"seconds": here}))
        else:
            chooser.observe(late(now_s + 0.7, cuts[-1], 190 * MS))
            chooser.observe(told(now_s + 2.7, 8e6))
        now_s += 3.4
    return now_s, cuts


def test_a_link_that_falls_whenever_it_is_used_is_soon_left_alone() -> None:
    """Every late answer costs more than half a request, every good forecast promises a tenth of one."""
    chooser = TableChooser(TABLE)
    now_s, cuts = gamble(chooser, 0.0)
    sent = len(cuts) - cuts.count(OUTPUT)
    assert 1 <= sent <= 3, cuts
    later = []
    for k in range(60):
        chooser.observe(told(now_s + 2 + k, 90e6))
        later.append(chooser.choose(now_s + 2.5 + k).cut)
        if later[-1] == OUTPUT:
            here = Seconds(total=120 * MS, local=120 * MS)
            chooser.observe(step(now_s + 2.5 + k, OUTPUT).model_copy(update={"seconds": here}))
        else:
            evidence = Evidence(up_bps=90e6)
            chooser.observe(
                step(now_s + 2.5 + k, later[-1]).model_copy(update={"evidence": evidence, "up_bytes": 200_000})
            )
    assert later[-1] != OUTPUT, "a link that has become good for good is used again"


def test_who_always_sends_waits_for_a_late_answer_until_the_server_is_back() -> None:
    """Nobody races for him: that late answers cost no more than the race made links that fall look good."""
    chooser = settled(8e6)
    now_s, size = 10.0, chooser._size
    for k in range(6):
        chooser.observe(told(now_s - 1 + 0.1 * k, 8e6))
    cut = chooser.choose(now_s).cut
    assert cut == "late"
    before = size.hindsight.lost_s.copy()
    chooser.observe(late(now_s, cut, 190 * MS))
    assert np.array_equal(size.hindsight.lost_s, before), "it is not known yet"
    chooser.observe(told(now_s + 1.5, 8e6))
    lost_s = size.hindsight.lost_s - before
    assert lost_s[-1] == pytest.approx(0.19 - 0.12), "the device alone"
    assert lost_s[2] == pytest.approx(0.19 - 1.51), "the same choice, by one who waits"


def test_but_no_longer_than_to_the_deadline_and_for_the_device_after_it() -> None:
    chooser = settled(8e6)
    for k in range(6):
        chooser.observe(told(9 + 0.1 * k, 8e6))
    cut, size = chooser.choose(10.0).cut, chooser._size
    before = size.hindsight.lost_s.copy()
    chooser.observe(late(10.0, cut, 190 * MS))
    chooser.observe(told(90.0, 8e6))
    assert (size.hindsight.lost_s - before)[2] == pytest.approx(0.19 - (2.0 + 0.06))


@pytest.mark.parametrize(("total_s", "others_s"), [(0.02, 0.101), (1.0, 1.4)])
def test_what_was_not_seen_is_settled_by_the_next_sample_however_late_it_comes(total_s: float, others_s: float) -> None:
    """Two requests on the device, then a probe: as fast as ever, or after the link had stood still."""
    chooser = settled(1e6)
    before = chooser._size.hindsight.lost_s.copy()
    for t_s in (9.6, 9.8):
        assert chooser.choose(t_s).cut == OUTPUT
        chooser.observe(step(t_s, OUTPUT, total=0.12))
    assert np.array_equal(chooser._size.hindsight.lost_s, before), "nothing is known yet"
    probe = step(10.0, "", probe=True, up_bps=8e6, total=total_s)
    chooser.observe(probe.model_copy(update={"up_bytes": 12_500}))
    lost_s = chooser._size.hindsight.lost_s - before
    second_s = others_s if total_s < 0.1 else others_s - 0.2
    assert lost_s[2] == pytest.approx(0.24 - others_s - second_s, abs=0.01)
    assert lost_s[3] == pytest.approx(0.0)


def test_a_request_that_somebody_else_decided_is_not_counted() -> None:
    chooser = settled(60e6)
    before = chooser._size.hindsight.lost_s.copy()
    for t in range(5, 15):
        chooser.choose(t)
        chooser.observe(step(t, OUTPUT, total=3.0))
    assert np.array_equal(chooser._size.hindsight.lost_s, before)

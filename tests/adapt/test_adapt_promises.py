"""What the chooser's own comments promise, one by one: each of these was once free to be broken."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from chooser_rig import MS, TABLE, settled, step, table_of
from test_adapt_ahead import event
from test_adapt_ahead import table as ahead_table

from isthmus.adapt import Habits, TableChooser
from isthmus.adapt.aftermath import Aftermath
from isthmus.adapt.chooser import STEP_S
from isthmus.adapt.server import AGAIN_S
from isthmus.adapt.sizes import Size
from isthmus.graph.types import INPUT, OUTPUT
from isthmus.plan.cost import CostTable
from isthmus.record.types import Evidence


def test_the_step_of_time_that_comes_next_is_decided_ahead_too(monkeypatch: pytest.MonkeyPatch) -> None:
    chooser, now_s = TableChooser(ahead_table(1)), 3 * STEP_S - 0.05
    for t in range(10):
        chooser.observe(event(random.Random(t), t, 0.1 * t))
    while chooser.probe_bytes(now_s):
        chooser.observe(event(random.Random(1), 0, now_s))
    monkeypatch.setattr(CostTable, "latency_s", lambda *_: pytest.fail("priced at the request's cost"))
    chooser.choose(3 * STEP_S + 0.04)


def test_after_a_failure_a_probe_unlike_all_before_does_not_bring_the_server_back() -> None:
    chooser = settled(100e6)
    chooser.observe(step(5, trouble="late", total=0.2))
    chooser.observe(step(5.3, probe=True, up_bps=1e6, total=0.1))
    assert chooser.in_doubt
    assert chooser.choose(5.45).why == "the server does not answer"
    chooser.observe(step(5.5, probe=True, up_bps=1e6, total=0.1))
    assert chooser.choose(5.65).why != "the server does not answer"


def test_a_server_that_is_taken_again_is_asked_again_as_soon_as_at_first() -> None:
    chooser = settled(25e6)
    for _ in range(4):
        chooser._server.asked(0.0)
    assert chooser._server._gap_s > AGAIN_S
    choice = chooser.choose(40.0)
    assert (choice.cut != OUTPUT, choice.beside) == (True, False)
    assert chooser._server._gap_s == AGAIN_S


def test_what_is_done_for_want_of_a_server_is_nobody_s_loss() -> None:
    """While it is away nothing was chosen: neither the device nor a cut has shown what it is worth."""
    chooser = settled(60e6)
    size = chooser._size
    chooser.observe(step(5, "early", trouble="gone", total=0.2))
    assert chooser.server_away
    before = size.hindsight.lost_s.copy()
    for t in (6.0, 6.2, 6.4):
        assert chooser.choose(t).why == "the server does not answer"
        chooser.observe(step(t, OUTPUT, total=0.12))
    chooser.observe(step(7.0, INPUT, probe=True, up_bps=60e6, total=0.02))
    assert chooser.choose(7.1).why != "the server does not answer"
    assert np.array_equal(size.hindsight.lost_s, before)


def test_a_deadline_is_kept_at_the_low_end_of_the_downlink_as_well() -> None:
    """100 kB come back: 40 ms as a rule, and 50 at the low end of a downlink that wavers."""
    table = replace(table_of((INPUT, 0, 5, 10), (OUTPUT, 60, 0, 0)), down_bytes=np.array([100e3, 0.0]))
    chooser = TableChooser(table, Habits(deadline_s=0.061, margin=0.0))
    for t in range(30):
        told = Evidence(up_bps=400e6, down_bps=20e6 * (1.35 if t % 2 else 1 / 1.35))
        chooser.observe(step(t, INPUT).model_copy(update={"evidence": told}))
    expected_s = table.latency_s(chooser._bandwidth.worth_bps(30), chooser._downlink.worth_bps(30), 5 * MS)
    assert expected_s[0] < min(expected_s[1], 0.061), "it is what would be taken without the deadline"
    made = chooser.choose(30)
    assert made.cut == OUTPUT or made.beside
    assert "surely" in made.why


def test_the_cases_are_both_ends_of_the_link_and_its_fall_and_none_beyond_a_race() -> None:
    chooser, early = settled(20e6), TABLE.cuts.index("early")
    size = chooser._size
    expected = chooser._latency_s(size, 20e6, 20e6, 5.0)
    cases = chooser._cases_s(size, expected, 5.0)
    assert len(cases) == 4
    assert cases[1][early] > expected[early] > cases[2][early]
    raced_s = size.raced_s(expected)
    assert np.array_equal(cases[3], raced_s)
    old_s = chooser._latency_s(size, chooser._bandwidth.low_bps(500.0), 20e6, 500.0)
    assert old_s[early] > raced_s[early], "nothing was heard for minutes: the low end is far below"
    assert np.all(chooser._cases_s(size, expected, 500.0) <= raced_s)


def test_inputs_that_left_early_say_nothing_of_how_fast_a_machine_is() -> None:
    """They ran a part of what is priced."""
    chooser = settled(20e6)
    for t in range(5, 10):
        chooser.observe(step(t, "late", head=6 * MS, server_s=0.5 * MS).model_copy(update={"exits": {"exit_1": 1}}))
    assert chooser.beliefs[1] == pytest.approx(1.0)
    assert chooser.alone_s == pytest.approx(0.12)


def test_what_was_never_sent_was_not_in_time() -> None:
    """A share of the requests sent: else a while on the device would make every link look sound."""
    chooser = settled(20e6)
    late = step(5, "early", trouble="late", total=0.2).model_copy(update={"up_bytes": 200_000})
    chooser.observe(late)
    share = chooser._lateness.share
    for t in range(6, 60):
        chooser.observe(step(t, OUTPUT, head=0.12, total=0.12))
    assert chooser._lateness.share == share


def test_what_nobody_could_send_is_settled_at_once() -> None:
    """Of a late answer it is not known yet how long whoever waits would have waited; of no connection it is."""
    for up_bytes, settled_s in ((0, [0.2 - 0.2] * 3 + [0.2 - 0.12]), (200_000, [0.0] * 4)):
        size = Size(TABLE)
        after = Aftermath(lambda *_: np.array([0.1, 0.08, 0.1, 0.12]), None)
        gone = step(5, "early", trouble="gone", total=0.2).model_copy(update={"up_bytes": up_bytes})
        after.ended(gone, size, (1, 1), np.array([0.1, 0.08, 0.1, 0.12]), None)
        assert size.hindsight.lost_s.tolist() == pytest.approx(settled_s)

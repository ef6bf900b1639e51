"""What is sent although the device computes everything itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from chooser_rig import TABLE, settled, step, table_of
from numpy.typing import NDArray

from isthmus.adapt import Habits
from isthmus.adapt.aftermath import Aftermath
from isthmus.adapt.besides import sent_besides
from isthmus.adapt.sizes import Size
from isthmus.adapt.transfers import at_least_bps
from isthmus.graph.types import INPUT, OUTPUT
from isthmus.record.types import Seconds

UPLOAD, EARLY, LATE, WHOLE = range(4)


def besides(
    size: Size, expected: NDArray[np.float64], at: int, free: int, deadline_s: float | None = None
) -> int | None:
    return sent_besides(size, expected, at, free, Habits(margin=0.05, deadline_s=deadline_s))


def latency(*milliseconds: float) -> NDArray[np.float64]:
    return np.array(milliseconds) / 1e3


def test_what_was_held_back_is_sent_besides() -> None:
    expected = latency(300, 90, 100, 120)
    assert besides(Size(TABLE), expected, WHOLE, EARLY) == EARLY
    assert besides(Size(TABLE), expected, EARLY, EARLY) is None, "it is taken anyway"


def test_what_is_about_as_quick_is_sent_besides_and_what_is_not_is_not() -> None:
    assert besides(Size(TABLE), latency(300, 125, 200, 120), WHOLE, WHOLE) == EARLY
    assert besides(Size(TABLE), latency(300, 127, 200, 120), WHOLE, WHOLE) is None


def test_not_where_writing_it_holds_the_device_up() -> None:
    """The second choice has the same head as `early`, of 15 ms, and writes it for 25 or 40 ms more."""
    expected = latency(300, 110, 110, 120)
    for writing, allowed in ((25, True), (40, False)):
        table = table_of(
            (INPUT, 0, 10, 600), ("early", 15, 9, 200), ("early", 15 + writing, 9, 20), (OUTPUT, 120, 0, 0)
        )
        found = besides(Size(table), expected, WHOLE, 2)
        assert found == (2 if allowed else None)


def test_not_what_leaves_only_when_the_device_is_nearly_done() -> None:
    table = table_of((INPUT, 0, 10, 600), ("early", 15, 9, 200), ("last", 110, 1, 2), (OUTPUT, 120, 0, 0))
    expected = latency(300, 150, 116, 120)
    assert besides(Size(table), expected, WHOLE, 2) is None
    assert besides(Size(table), expected, WHOLE, WHOLE) is None


def test_the_device_s_own_answer_stays_in_time() -> None:
    """With the same head of 15 ms and 25 of writing, the device alone would end after 145 ms."""
    table = table_of((INPUT, 0, 10, 600), ("early", 15, 9, 200), ("early", 40, 9, 20), (OUTPUT, 120, 0, 0))
    expected = latency(300, 110, 110, 120)
    for deadline_s, allowed in ((0.15, True), (0.14, False), (0.10, True)):
        assert besides(Size(table), expected, WHOLE, 2, deadline_s) == (2 if allowed else None)


def test_not_where_the_server_begins_or_nothing_runs_here() -> None:
    expected = latency(300, 90, 100, 120)
    assert besides(Size(replace(TABLE, first="server")), expected, WHOLE, EARLY) is None
    remote = table_of((INPUT, 0, 10, 600), ("early", 15, 9, 200))
    assert besides(Size(remote), expected[:2], EARLY, EARLY) is None


def test_a_choice_that_may_not_be_risked_is_not_forgone() -> None:
    """Answers are late again and again after the link has shown itself fine: the device is taken, and what looks better
    goes beside it."""
    chooser, t, late = settled(25e6), 5.0, 0
    while not (made := chooser.choose(t)).beside and late < 5:
        if made.cut != OUTPUT:
            late += 1
            lost = step(t, made.cut, trouble="late", total=0.24)
            chooser.observe(lost.model_copy(update={"asked": made.cut, "up_bytes": 30_000}))
        for k in range(4):
            chooser.observe(step(t + 0.5 + 0.1 * k, INPUT, up_bps=25e6, probe=True, total=0.02))
        t += 1.5
    assert late > 0
    assert made.beside
    assert made.cut in ("early", "late")
    assert made.give_up_s is not None
    assert "besides" in made.why


def test_who_does_not_want_it_waits_or_works_alone() -> None:
    """Neither what is held back nor what would tell of a server believed to be busy is sent besides."""
    chooser, t = settled(25e6, habits=Habits(besides=False)), 5.0
    for k in range(20):
        made = chooser.choose(t)
        assert not made.beside
        if made.cut != OUTPUT:
            lost = step(t, made.cut, trouble="late", total=0.24)
            chooser.observe(lost.model_copy(update={"asked": made.cut, "up_bytes": 30_000}))
        for i in range(4):
            chooser.observe(step(t + 0.5 + 0.1 * i, INPUT, up_bps=25e6, probe=True, total=0.02))
        if k == 10:
            chooser.observe(step(t + 1, "early", up_bps=25e6, server_s=0.9, total=0.3))
        t += 1.5


def test_what_the_device_answered_first_is_settled_by_what_it_took() -> None:
    size = Size(TABLE)
    expected = latency(300, 90, 100, 120)
    after = Aftermath(lambda _, bps: expected if bps else expected * 0, None)
    done = step(0.0, "early", total=0.125).model_copy(
        update={"ran": "device", "cut": OUTPUT, "asked": "early", "up_bytes": 200_000, "seconds": Seconds(total=0.125)}
    )
    after.ended(done, size, (EARLY, EARLY), expected, None)
    assert not size.hindsight.lost_s.any(), "until the link has shown itself"
    after.told(step(0.2, INPUT, up_bps=25e6, probe=True), 25e6)
    assert size.hindsight.lost_s.tolist() == pytest.approx((0.125 - expected).tolist())


def test_an_answer_of_the_device_tells_neither_how_fast_it_is_nor_the_link() -> None:
    """It began with what had been sent, so its 30 ms are not all it does; and nothing came back from the server."""
    chooser = settled(25e6)
    chooser.choose(6.0)
    before, alone_s = chooser.beliefs, chooser.alone_s
    first = step(6.0, OUTPUT, total=0.09, head=0.03).model_copy(update={"asked": "late", "up_bytes": 30_000})
    chooser.observe(first)
    assert first.in_its_place
    assert chooser.alone_s == alone_s
    assert chooser.beliefs == before
    assert at_least_bps(first, 0.005) is None

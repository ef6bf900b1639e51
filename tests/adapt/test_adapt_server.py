"""What is believed of the server grows old while the device works alone; then it is asked after, beside the device."""

from __future__ import annotations

import numpy as np
import pytest
from chooser_rig import TABLE, settled, step, table_of

from isthmus.adapt import Habits, TableChooser
from isthmus.adapt.besides import sent_for_news
from isthmus.adapt.server import AGAIN_S, RARELY_S, Server
from isthmus.adapt.sizes import Size
from isthmus.graph.types import INPUT, OUTPUT
from isthmus.record.types import Choice

UPLOAD, EARLY, LATE, WHOLE = range(4)
IDLE = np.array([0.3, 0.09, 0.1, 0.12])
HABITS = Habits(margin=0.05)


def test_it_is_asked_more_and_more_rarely_until_it_is_taken_again() -> None:
    server = Server()
    server.worked(0.4, 0.01, 0.0)
    asked = []
    for now_s in np.arange(0.0, 200.0, 0.25).tolist():
        if server.is_old(now_s):
            server.asked(now_s)
            asked.append(now_s)
    gaps = np.diff([0.0, *asked]).tolist()
    assert gaps[0] == AGAIN_S
    assert gaps[:6] == [AGAIN_S * 2**k for k in range(6)]
    assert max(gaps) == RARELY_S
    server.taken()
    server.worked(0.4, 0.01, 300.0)
    assert server.is_old(300.0 + AGAIN_S)


def test_what_was_just_heard_is_not_old_and_an_idle_server_never_is() -> None:
    server = Server()
    assert not server.is_old(1e6)
    server.waited(0.2, 0.0)
    assert server.is_old(AGAIN_S)
    server.waited(0.2, AGAIN_S)
    assert not server.is_old(1.5 * AGAIN_S)
    nearly = Server()
    nearly.worked(0.0104, 0.010, 0.0)
    nearly.waited(5e-5, 0.0)
    assert not nearly.is_old(1e6), "four parts in a hundred, and the 50 µs that every request waits"
    idle = Server()
    idle.worked(0.005, 0.010, 0.0)
    assert idle.at_best(0.0) == pytest.approx(0.51, abs=0.01), "quicker than profiled is as good as it gets"
    assert not idle.is_old(1e6)


def test_the_best_that_tells_is_sent_for_news() -> None:
    assert sent_for_news(Size(TABLE), IDLE, WHOLE, HABITS) == EARLY
    assert sent_for_news(Size(TABLE), IDLE, EARLY, HABITS) is None, "something is sent anyway"
    no_better = np.array([0.3, 0.115, 0.116, 0.12])
    assert sent_for_news(Size(TABLE), no_better, WHOLE, HABITS) is None, "an idle server would not be taken, either"
    mute = table_of((INPUT, 0, 10, 600), ("early", 15, 0.1, 200), ("late", 60, 5, 30), (OUTPUT, 120, 0, 0))
    assert sent_for_news(Size(mute), IDLE, WHOLE, HABITS) == LATE, "a tail of 0.1 ms says nothing of the load"


def test_not_for_news_where_it_holds_the_device_up_or_makes_it_late() -> None:
    """Written for 25 or 40 ms more than the head of 15 ms takes; the device alone would end after 145 or 160 ms."""
    for writing, deadline_s, found in ((25, None, 2), (40, None, None), (25, 0.14, None), (25, 0.15, 2)):
        table = table_of(
            (INPUT, 0, 10, 600), ("early", 15, 9, 200), ("early", 15 + writing, 9, 20), (OUTPUT, 120, 0, 0)
        )
        idle = np.array([0.3, 0.2, 0.1, 0.12])
        assert sent_for_news(Size(table), idle, WHOLE, Habits(deadline_s=deadline_s)) == found


def played(chooser: TableChooser, begin_s: float, end_s: float, busy: float) -> list[tuple[float, Choice]]:
    """Requests five times a second to a server so many times as slow as its profile; probes besides."""
    made = []
    for t in np.arange(begin_s, end_s, 0.2).tolist():
        choice = chooser.choose(t)
        made.append((t, choice))
        if choice.cut == OUTPUT:
            chooser.observe(step(t, OUTPUT, head=0.12, total=0.12))
        elif busy > 4 and choice.beside:  # the device is first: no word of the server
            late = step(t, OUTPUT, head=0.1, total=0.12)
            chooser.observe(late.model_copy(update={"asked": choice.cut, "up_bytes": 200_000}))
        else:
            server_s = busy * float(TABLE.server_s[TABLE.cuts.index(choice.cut)])
            chooser.observe(step(t, choice.cut, up_bps=25e6, server_s=server_s, total=0.08 + server_s))
        chooser.observe(step(t + 0.15, INPUT, up_bps=25e6, probe=True, total=0.02))
    return made


def test_one_slow_answer_does_not_keep_a_session_on_the_device() -> None:
    chooser = settled(25e6)
    assert chooser.choose(5.0).cut != OUTPUT
    chooser.observe(step(5.0, "early", up_bps=25e6, server_s=0.9, total=1.0))
    made = played(chooser, 6.2, 14.0, busy=1.0)
    assert made[0][1].cut == OUTPUT
    asked = [t for t, choice in made if choice.beside]
    assert asked[0] < 6.2 + 2 * AGAIN_S
    again = [t for t, choice in made if choice.cut != OUTPUT and not choice.beside]
    assert again[0] < 6.2 + 4 * AGAIN_S


def test_a_server_that_stays_busy_is_asked_seldom_and_never_waited_for() -> None:
    chooser = settled(25e6)
    for k in range(3):
        chooser.observe(step(5.0 + k, "early", up_bps=25e6, server_s=0.9, total=1.0))
    made = played(chooser, 9.0, 30.0, busy=100.0)
    assert all(choice.cut == OUTPUT or choice.beside for _, choice in made)
    asked = [t for t, choice in made if choice.beside]
    assert 2 <= len(asked) <= 5
    assert np.all(np.diff(asked) >= AGAIN_S)
    assert not chooser.server_away, "a device that was first is no failure"

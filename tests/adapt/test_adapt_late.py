"""The chooser when an answer or a probe is late: what that tells, and what it costs."""

from __future__ import annotations

import pytest
from chooser_rig import MS, settled, step, table_of

from isthmus.adapt import Habits, TableChooser
from isthmus.graph.types import INPUT, OUTPUT
from isthmus.record.types import Seconds, Step


def test_the_device_begins_too_when_an_answer_is_late() -> None:
    chooser = settled(20e6)
    choice = chooser.choose(5)
    assert choice.cut == "late"
    assert choice.predicted_s is not None
    assert choice.give_up_s == pytest.approx(choice.predicted_s + 20 * MS), "a hiccup of 10 ms is nothing to begin for"
    slow = table_of((INPUT, 0, 800, 1), (OUTPUT, 2000, 0, 0))
    long = settled(20e6, slow).choose(5)
    assert long.cut == INPUT
    assert long.predicted_s is not None
    assert long.give_up_s == pytest.approx(long.predicted_s + 500 * MS), "two seconds of work are not begun lightly"
    alone = settled(1e5).choose(5)
    assert (alone.cut, alone.give_up_s) == (OUTPUT, None)


def test_a_probe_that_is_not_back_yet_says_how_fast_the_link_is_at_most() -> None:
    """12.5 kB need 5 ms at 20 Mbit/s; after 1 s without them the link carries 0.1 Mbit/s at most."""
    chooser = settled(20e6)
    assert chooser.choose(7.0).cut != OUTPUT
    assert chooser.probe_bytes(7.1) > 0
    assert chooser.choose(7.105).cut != OUTPUT
    assert chooser.choose(8.1).cut == OUTPUT
    assert chooser.beliefs[0] == pytest.approx(20e6, rel=0.01), "it is no sample"
    chooser.observe(step(7.1, probe=True, up_bps=20e6))
    assert chooser.choose(8.2).cut != OUTPUT


def test_who_has_been_late_before_must_be_the_faster_for_it() -> None:
    """`near` is 2 ms faster than the device as a rule, and may cost 90 more: worth it while it is hardly ever late."""
    table = table_of(("near", 30, 8, 140), (OUTPUT, 111, 0, 0))

    def after(late: int, of: int) -> str:
        chooser = TableChooser(table, Habits(margin=0.0))
        for t in range(of):
            sent = step(t, "near", up_bps=17e6).model_copy(update={"up_bytes": 140_000})
            chooser.observe(sent.model_copy(update={"trouble": "no answer", "ran": "device"}) if t < late else sent)
        choice = chooser.choose(of + 1)
        return OUTPUT if choice.beside else choice.cut

    assert after(0, 60) == "near"
    assert after(6, 60) == OUTPUT
    assert after(1, 300) == "near", "that was long ago"


def test_what_goes_up_goes_behind_a_probe() -> None:
    """0.1 s at 1 Mbit/s: the device alone is faster than a wait and what `last` takes."""
    table = table_of((INPUT, 0, 10, 600), ("last", 80, 1, 1), (OUTPUT, 120, 0, 0))
    chooser = settled(1e6, table)
    before = chooser.choose(7.0)
    assert before.cut == "last"
    assert before.predicted_s is not None
    assert chooser.probe_bytes(7.1) > 0
    assert chooser.choose(7.11).cut == OUTPUT
    behind = chooser.choose(7.195)
    assert behind.cut == "last"
    assert behind.predicted_s == pytest.approx(before.predicted_s + 0.1 - 0.095, abs=2 * MS)


def test_waiting_behind_a_probe_is_no_news_of_the_link() -> None:
    """A probe of 12.5 kB takes 0.1 s at 1 Mbit/s, and so does a kilobyte behind it."""
    chooser = settled(1e6)
    chooser.choose(7.0)
    assert chooser.probe_bytes(7.0)
    for t_s in (7.01, 7.05):
        up = Seconds(total=0.12, up=0.11)
        chooser.observe(Step(id=1, t_s=t_s, ran="split", cut="late", codec="float32", seconds=up, up_bytes=1000))
    assert chooser.beliefs[0] == pytest.approx(1e6, rel=0.01)

"""What is learnt of the link where no dispersion shows, and which doubts are worth a probe."""

from __future__ import annotations

import pytest
from chooser_rig import MS, settled, step, table_of

from isthmus.adapt import Habits, TableChooser
from isthmus.adapt.transfers import at_least_bps, crawled_bps
from isthmus.graph.types import INPUT, OUTPUT
from isthmus.record.types import Evidence, Seconds, Step

TWO = table_of((INPUT, 0, 10, 60), (OUTPUT, 120, 0, 0))
"""The server gets it all from 5 Mbit/s on."""


def sent(t_s: float, up_bytes: int, up_s: float, *, probe: bool = False, cut: str = "early", trouble: str = "") -> Step:
    told = step(t_s, cut, probe=probe, total=up_s, trouble=trouble)
    return told.model_copy(update={"up_bytes": up_bytes, "seconds": Seconds(total=up_s, up=up_s)})


def test_a_transfer_took_no_longer_than_its_time_without_the_way() -> None:
    """12.5 kB, 4.1 of which may be a burst: 10 ms beyond a round trip for a probe, beyond half of one for a request."""
    assert at_least_bps(sent(0, 12_500, 0.015, probe=True), 5 * MS) == pytest.approx(8 * 8_404 / 0.010)
    assert at_least_bps(sent(0, 12_500, 0.0125), 5 * MS) == pytest.approx(8 * 8_404 / 0.010)
    assert at_least_bps(sent(0, 100_000, 0.0125), 5 * MS) == pytest.approx(8 * (100_000 - 8_192) / 0.010)


def test_no_bound_from_a_burst_a_failure_or_a_clock_that_is_too_coarse() -> None:
    assert at_least_bps(sent(0, 8_000, 0.015), 5 * MS) is None
    assert at_least_bps(sent(0, 50_000, 0.015, trouble="no answer"), 5 * MS) is None
    assert at_least_bps(sent(0, 12_500, 0.001), 5 * MS) == pytest.approx(8 * 8_404 / 0.0003)


def test_a_transfer_that_crawls_is_told_from_one_that_is_a_little_late() -> None:
    assert crawled_bps(sent(0, 1_300, 0.1), 20e6, 5 * MS) == pytest.approx(8 * 1_300 / 0.0975)
    assert crawled_bps(sent(0, 1_300, 0.012), 20e6, 5 * MS) is None
    assert crawled_bps(sent(0, 100_000, 0.06), 20e6, 5 * MS) is None


def test_a_link_too_fast_to_be_measured_is_found_all_the_same() -> None:
    """All of each probe was there at once, twice in a row: no rate, yet it cannot have been 2 Mbit/s."""
    chooser = settled(2e6)
    assert chooser.choose(5.0).cut == OUTPUT
    for t in (5.1, 5.2):
        chooser.observe(sent(t, 12_500, 0.006, probe=True))
    believed, _ = chooser.beliefs
    assert believed == pytest.approx(8 * 8_404 / 0.001, rel=0.2)
    assert chooser.choose(5.5).cut == "early"


def test_a_bound_that_contradicts_nothing_changes_nothing_but_the_age() -> None:
    """As fast as believed, as far as can be told: the next probe is not due for that."""
    chooser = settled(80e6)
    before = chooser.beliefs[0]
    chooser.observe(sent(9.0, 12_500, 0.0063, probe=True))  # at least 52 Mbit/s
    assert chooser.beliefs[0] == before
    assert chooser.probe_bytes(9.5) == 0
    assert chooser.probe_bytes(12.0) > 0


def test_a_bound_far_below_the_belief_says_nothing_unless_the_choice_is_right_there_too() -> None:
    """80 Mbit/s believed, at least 9 seen: the server gets it all at either rate from 5 Mbit/s on, but not where 600 kB
    would have to go there."""
    calm = settled(80e6, TWO)
    calm.choose(8.9)
    calm.observe(sent(9.0, 12_500, 0.0125, probe=True))
    assert calm.probe_bytes(9.5) == 0
    chooser = settled(80e6)
    chooser.choose(8.9)
    before = chooser.beliefs[0]
    chooser.observe(sent(9.0, 12_500, 0.0125, probe=True))  # at least 9 Mbit/s
    assert chooser.beliefs[0] == before
    assert chooser.probe_bytes(9.5) > 0


def doubting(believed_bps: float, sample_bps: float, habits: Habits | None = None) -> TableChooser:
    chooser = TableChooser(TWO, habits)
    for k in range(20):
        chooser.choose(0.1 * k)
        chooser.observe(step(0.1 * k, INPUT, up_bps=believed_bps))
    chooser.choose(2.1)
    chooser.observe(step(2.1, INPUT, up_bps=sample_bps))
    assert chooser.in_doubt
    return chooser


def test_a_faster_link_is_not_asked_after_where_the_choice_is_the_same() -> None:
    assert doubting(20e6, 80e6).probe_bytes(2.2) == 0


def test_what_rises_may_rise_on() -> None:
    """At 2 Mbit/s the device is right as it was at 0.5; at 8 it would not be. At 1.2 nothing near is different."""
    chooser = doubting(0.5e6, 2e6)
    assert chooser.choose(2.15).cut == OUTPUT
    assert chooser.probe_bytes(2.2) > 0
    assert doubting(0.5e6, 1.2e6).probe_bytes(2.2) == 0


@pytest.mark.parametrize("sample_bps", [1e6, 20e6])
def test_a_doubt_that_could_change_the_choice_is_settled_at_once(sample_bps: float) -> None:
    assert doubting(21e6 - sample_bps, sample_bps).probe_bytes(2.2) > 0


def test_a_link_that_may_have_fallen_is_asked_after_whatever_is_chosen() -> None:
    chooser = doubting(2e6, 0.4e6)
    assert chooser.choose(2.15).cut == OUTPUT
    assert chooser.probe_bytes(2.2) > 0


def test_with_a_deadline_every_doubt_counts() -> None:
    assert doubting(20e6, 80e6, Habits(deadline_s=0.5)).probe_bytes(2.2) > 0


def test_a_slow_first_ping_is_corrected_by_what_is_faster_than_it() -> None:
    """A session begins on a busy machine: 47 ms for a ping, and pings are rare; probes come back within 19 ms."""
    chooser = TableChooser(TWO)
    for k in range(3):
        probe = sent(0.1 * k, 12_500, 0.019, probe=True)
        chooser.observe(probe.model_copy(update={"evidence": Evidence(up_bps=12e6, rtt_s=0.047)}))
    priced = TWO.latency_s(12e6, 12e6, 0.019)
    assert chooser.choose(0.4).predicted_s == pytest.approx(float(priced.min()), rel=0.05)

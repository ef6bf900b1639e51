"""Playing: the journal's lines add up, probes cost link time, outages are got over, everyone's twin agrees."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulate_worlds import ROWS, TABLE, table_of

from isthmus.adapt import Fixed, TableChooser, always_device, always_server
from isthmus.errors import BadInput
from isthmus.graph.types import INPUT, OUTPUT
from isthmus.link import Trace, constant, markov, steps
from isthmus.record import Batching, Choice, Header, Journal, Step, read_journal, summarise
from isthmus.record.summary import fell_back
from isthmus.simulate import (
    Away,
    Clairvoyant,
    Informed,
    Load,
    Others,
    Played,
    Requests,
    World,
    make_policy,
    play,
    seconds_of_all,
    statics,
)

UNEVEN = markov([0.0, 1e6, 8e6, 40e6], stay_s=1.5, duration_s=40, seed=3, step_s=0.5, noise=0.2)


def mean_s(played: Played) -> float:
    return float(np.mean([s.seconds.total for s in played.steps]))


worlds = st.builds(
    World,
    tables=st.just({1: TABLE, 4: table_of(scale=2.5)}),
    up=st.sampled_from([UNEVEN, UNEVEN.clipped(1e5), UNEVEN.looped(), constant(12e6)]),
    load=st.sampled_from([Load.constant(), Load.of([0, 7, 20], [1, 6, 0.5])]),
    away=st.sampled_from([Away(), Away(((3.0, 6.0), (9.0, 9.1)))]),
    others=st.sampled_from([Others(), Others(10, 0.05, seed=1)]),
    deadline_s=st.sampled_from([0.15, 0.5, 3.0]),
    noise=st.sampled_from([0.0, 0.2]),
)
plans = st.sampled_from(
    [
        Requests(count=60),
        Requests(until_s=8.0, from_s=0.7),
        Requests(count=40, every_s=0.3, batches=(1, 4, 1)),
        Requests(until_s=12.0, moments_s=tuple(np.linspace(0, 14, 50))),
    ]
)


@settings(deadline=None, max_examples=40)
@given(worlds, plans)
def test_all_fixed_choices_in_lockstep_are_each_played_alone(world: World, requests: Requests) -> None:
    together = statics(world, requests)
    for at, (cut, codec) in enumerate(together.names):
        alone = play(world, Fixed(Choice(cut=cut, codec=codec)), requests)
        assert together.mean_s[at] == pytest.approx(mean_s(alone), rel=1e-9)
        assert (together.answered[at], together.lost[at]) == (len(alone.steps), alone.lost)


@settings(deadline=None, max_examples=25)
@given(worlds, plans, st.sampled_from(["dynamic", "table", "clairvoyant", "server", "cut:late"]))
def test_every_line_adds_up_and_follows_the_last(world: World, requests: Requests, name: str) -> None:
    said: list[Step] = []

    class Kept:
        def write(self, step: Step) -> None:
            said.append(step)

    played = play(world, make_policy(name, world, requests), requests, journal=Kept())
    again = play(world, make_policy(name, world, requests), requests)
    assert [s.model_dump() for s in again.steps] == [s.model_dump() for s in played.steps]
    assert [s for s in said if s.kind == "request"] == played.steps
    assert len({s.id for s in said}) == len(said)
    assert played.lost == 0
    last_s = 0.0
    for step in played.steps:
        causes = [value for cause, value in step.seconds if cause != "total"]
        assert all(value >= -1e-12 for value in causes)
        assert sum(causes) == pytest.approx(step.seconds.total, abs=1e-9)
        assert step.t_s >= last_s - 1e-9
        last_s = step.t_s + step.seconds.total
        assert (bool(step.trouble) or step.in_its_place) == (step.asked != "")
        if step.evidence.up_bps is not None:
            rates = world.up.rates_bps
            assert rates.min() * 0.999 <= step.evidence.up_bps <= rates.max() * 1.001


def test_nobody_ends_a_request_before_the_clairvoyant() -> None:
    world = World({1: TABLE}, UNEVEN.clipped(2e5).looped(), noise=0.1)
    moments = np.linspace(0, 39, 40)
    best = seconds_of_all(world, moments).min(axis=1)
    quiet = World({1: TABLE}, UNEVEN.clipped(2e5).looped())
    spaced = Requests(count=40, every_s=1.0)
    assert [s.seconds.total for s in play(quiet, Clairvoyant(quiet), spaced).steps] == pytest.approx(
        seconds_of_all(quiet, moments).min(axis=1).tolist()
    )
    for name in ("dynamic", "table", "static", "device"):
        played = play(quiet, make_policy(name, quiet, spaced), spaced)
        assert all(s.seconds.total >= b - 1e-9 for s, b in zip(played.steps, best, strict=True) if s.t_s in moments)
    assert mean_s(play(world, Clairvoyant(world), spaced)) <= statics(world, spaced).mean_s.min()


def test_informed_is_right_while_nothing_changes_on_the_way() -> None:
    for rate in (1e6, 10e6, 80e6, 400e6):
        world = World({1: TABLE}, constant(rate))
        assert Informed(world).choose(3.0).cut == Clairvoyant(world).choose(3.0).cut
    assert Informed(World({1: TABLE}, steps("0:5s,9Mbit:5s"))).choose(1.0).cut == OUTPUT


def test_the_clairvoyant_sees_what_is_coming() -> None:
    """At 40 Mbit/s the early cut is best, but the link is about to fall."""
    world = World({1: TABLE}, steps("40Mbit:1s,0.5Mbit:60s"))
    assert Informed(world).choose(0.98).cut == "early"
    assert Clairvoyant(world).choose(0.98).cut == OUTPUT


def test_the_evidence_is_the_rate_over_the_transfer() -> None:
    played = play(World({1: TABLE}, constant(10e6)), always_server(), Requests(count=3))
    told = played.steps[0].evidence
    assert told.up_bps == pytest.approx(10e6)
    assert (told.rtt_s, told.queue_s) == (0.005, 0.0)
    assert told.server_s == pytest.approx(0.010)
    assert played.steps[0].true_bps == 10e6
    small = table_of(((INPUT, 0, 10, 6), (OUTPUT, 120, 0, 0)))
    assert play(World({1: small}, constant(10e6)), always_server(), Requests(count=1)).steps[0].evidence.up_bps is None


class Curious(Fixed):
    """Asks for a probe whenever it may."""

    def __init__(self, cut: str, size: int) -> None:
        super().__init__(Choice(cut=cut))
        self._size = size
        self.told: list[Step] = []
        self.asked_s: list[float] = []

    def observe(self, step: Step) -> None:
        self.told.append(step)

    def probe_bytes(self, now_s: float) -> int:
        self.asked_s.append(now_s)
        return self._size


def test_probes_come_back_between_requests_and_tell_the_truth() -> None:
    world = World({1: TABLE}, constant(1e6))
    chooser = Curious(OUTPUT, 12_500)  # 100 ms of link each
    played = play(world, chooser, Requests(count=10))
    probes = [s for s in chooser.told if s.kind == "probe"]
    assert len(probes) == 8  # in 1.2 s: the device computes, and is asked every 0.3 s, and once more after a probe
    assert played.probes == 8  # as its journal has them: one more is not back yet
    assert probes[0].evidence.up_bps == pytest.approx(1e6)
    assert probes[0].seconds.total == pytest.approx(0.105)
    ends = [s.t_s + s.seconds.total for s in chooser.told]
    assert ends == sorted(ends)


def test_who_wants_another_probe_is_asked_as_soon_as_one_is_back() -> None:
    world = World({1: TABLE}, constant(1e6))
    chooser = Curious(OUTPUT, 12_500)  # there and back in 0.105 s
    play(world, chooser, Requests(count=2, every_s=1.0))
    resting = [t for t in chooser.asked_s if 0.15 < t < 0.9]
    assert np.diff(resting) == pytest.approx(0.105)


def test_no_probe_while_a_request_is_on_its_way_and_probes_hold_requests_up() -> None:
    world = World({1: TABLE}, constant(1e6))
    none = Curious(INPUT, 12_500)
    play(world, none, Requests(count=3))
    assert len(none.asked_s) == 0  # each starts as the last ends: the way is never free
    paced = Curious(INPUT, 125_000)  # 1 s of link, asked for at 9.9 s among others
    held = play(world, paced, Requests(count=2, every_s=10.0)).steps
    assert held[0].seconds.total == pytest.approx(4.8 + 0.010 + 0.005 + 0.0005 + 0.008, abs=1e-3)
    assert held[1].seconds.up > held[0].seconds.up + 0.1


def test_an_outage_costs_one_deadline_and_then_the_device_works() -> None:
    world = World({1: TABLE}, steps("100Mbit:1s,0:5s,100Mbit:5s"), deadline_s=0.4)
    played = play(world, Fixed(Choice(cut="early")), Requests(until_s=8.0))
    troubled = [s for s in played.steps if s.trouble]
    assert [s.seconds.lost > 0 for s in troubled] == [True] + [False] * (len(troubled) - 1)
    assert troubled[0].seconds.total == pytest.approx(0.4 + 0.105)
    assert all(s.seconds.total == pytest.approx(0.120) and s.asked == "early" for s in troubled[1:])
    assert all(1.0 - 0.05 < s.t_s < 6.01 for s in troubled)
    back = next(s for s in played.steps if s.t_s > 6.0 and not s.trouble)
    assert back.t_s < 6.2
    assert played.lost == 0


def test_a_request_is_given_up_when_its_choice_says_so_or_at_the_deadline() -> None:
    """`early`: 15 ms here and 105 more when the device has to finish."""
    for give_up_s, waited_s in ((0.2, 0.2), (0.9, 0.4), (None, 0.4)):
        world = World({1: TABLE}, steps("100Mbit:1s,0:5s"), deadline_s=0.4)
        played = play(world, Fixed(Choice(cut="early", give_up_s=give_up_s)), Requests(count=1, from_s=2.0))
        assert played.steps[0].seconds.total == pytest.approx(waited_s + 0.105)
        assert f"{waited_s * 1e3:.0f} ms" in played.steps[0].trouble


def test_who_is_beaten_by_the_device_is_not_late() -> None:
    """At 5 Mbit/s the answer of `early` takes 0.35 s, the device beside it 0.12: nothing went wrong before `give_up_s`,
    and the next request is sent again."""
    for give_up_s, late in ((1.0, False), (0.1, True)):
        world = World({1: TABLE}, constant(5e6))
        choice = Choice(cut="early", give_up_s=give_up_s, beside=True)
        played = play(world, Fixed(choice), Requests(count=2))
        first, second = played.steps
        assert first.seconds.total == pytest.approx(0.12)
        assert (first.ran, first.cut, first.asked, bool(first.trouble)) == ("device", OUTPUT, "early", late)
        assert first.up_bytes > 0
        assert fell_back(first) == late
        assert second.seconds.total == pytest.approx(0.12)
        assert (second.up_bytes > 0) == (not late), "after a failure nothing is sent until a ping is back"


def test_what_was_given_up_still_tells_of_the_link() -> None:
    world = World({1: TABLE}, constant(1e6), deadline_s=0.4)
    chooser = Curious(INPUT, 0)
    play(world, chooser, Requests(count=1))
    told = [s for s in chooser.told if s.kind == "probe"]
    assert [s.evidence.up_bps for s in told] == [pytest.approx(1e6, rel=1e-3)]
    assert summarise(told).probes == 0  # nobody sent one


def test_without_a_device_a_request_can_be_lost_and_is_counted() -> None:
    remote = table_of(ROWS[:3])
    world = World({1: remote}, steps("100Mbit:1s,0:2s,100Mbit:5s"), deadline_s=0.4)
    said: list[Step] = []

    class Kept:
        def write(self, step: Step) -> None:
            said.append(step)

    played = play(world, always_server(), Requests(until_s=5.0), journal=Kept())
    assert played.lost >= 1
    assert summarise(said).lost == played.lost
    gone = [s for s in said if s.kind == "lost"]
    assert {(s.cut, s.seconds.total, s.seconds.lost) for s in gone} == {(INPUT, 0.4, 0.4)}
    assert all(s.trouble for s in gone)
    assert played.asked == len(played.steps) + played.lost
    assert summarise(played.steps, requests=played.asked).lost == played.lost
    assert statics(world, Requests(until_s=5.0)).lost[0] == played.lost


def test_a_request_that_never_ends_ends_the_simulation(tmp_path: Path) -> None:
    world = World({1: TABLE}, Trace.of([0, 1], [10e6, 0.0]))
    with Journal(tmp_path / "run.jsonl") as journal:
        played = play(world, always_server(), Requests(count=50), journal=journal)
    assert (played.asked, len(played.steps), played.lost) == (3, 2, 1)
    assert summarise(read_journal(tmp_path / "run.jsonl")[1]).lost == 1
    found = statics(world, Requests(count=50))
    assert found.lost.tolist() == [1, 1, 1, 0]
    assert found.names[found.best] == (OUTPUT, "float32")


def test_batches_form_by_the_live_clients_rule() -> None:
    world = World({1: TABLE, 4: table_of(scale=2.0)}, constant(50e6))
    asked = Requests(until_s=20.0, every_s=0.02, rule=Batching(max_batch=4, max_delay_s=0.05))
    played = play(world, always_device(), asked)
    assert {s.batch for s in played.steps} <= {1, 2, 3, 4}
    assert played.steps[0].batch == 3  # those that came within 50 ms
    assert played.steps[0].t_s == pytest.approx(0.05)
    assert all(s.batch == 4 for s in played.steps[2:-1])
    assert sum(s.batch for s in played.steps) <= 1000
    assert played.waits_s[0] == pytest.approx(0.03)
    alone = statics(world, asked)
    assert alone.mean_s[3] == pytest.approx(mean_s(played))


def test_late_starts_are_counted_as_waiting() -> None:
    played = play(World({1: TABLE}, constant(1e6)), always_device(), Requests(count=5, every_s=0.1))
    assert played.waits_s == pytest.approx([0.0, 0.02, 0.04, 0.06, 0.08])
    assert play(World({1: TABLE}, constant(1e6)), always_device(), Requests(count=5)).waits_s == [0.0] * 5


def test_a_journal_is_written_that_reads_back(tmp_path: Path) -> None:
    world = World({1: TABLE}, UNEVEN.clipped(1e5))
    requests = Requests(count=30)
    with Journal(tmp_path / "run.jsonl", Header(model="made")) as journal:
        played = play(world, TableChooser({1: TABLE}), requests, journal=journal)
    _, read = read_journal(tmp_path / "run.jsonl")
    assert tuple(s for s in read if s.kind == "request") == tuple(played.steps)


def test_progress_is_told() -> None:
    said: list[tuple[int, float]] = []
    play(
        World({1: TABLE}, constant(1e6)),
        always_device(),
        Requests(count=2500),
        progress=lambda n, t: said.append((n, t)),
    )
    assert [n for n, _ in said] == [1000, 2000]
    assert [t for _, t in said] == pytest.approx([120.0, 240.0])


@pytest.mark.parametrize(
    ("policy", "sentence"),
    [
        ("best", r"'best' is no policy; there are dynamic, table, static"),
        ("cut:nowhere", r"'cut:nowhere' names a choice that has no price here; there are @input/float32"),
        ("server/int2", r"'server/int2' names a choice"),
        ("", r"'' is no policy"),
    ],
)
def test_names_that_are_no_policy_are_refused(policy: str, sentence: str) -> None:
    world = World({1: TABLE}, constant(1e6))
    with pytest.raises(BadInput, match=sentence):
        make_policy(policy, world, Requests(count=1))


def test_names_of_fixed_policies() -> None:
    coded = table_of(((INPUT, 0, 1, 9), ("/a/b", 1, 1, 5), ("/a/b", 1, 1, 2), (OUTPUT, 9, 0, 0)))
    coded = type(coded)(**{**coded.__dict__, "codecs": ("float32", "float32", "int8", "float32")})
    world = World({1: coded}, constant(1e6))
    for name, cut, codec in (
        ("device", OUTPUT, "float32"),
        ("server", INPUT, "float32"),
        ("cut:/a/b", "/a/b", "float32"),
        ("cut:/a/b/int8", "/a/b", "int8"),
    ):
        choice = make_policy(name, world, Requests(count=1)).choose(0.0)
        assert (choice.cut, choice.codec) == (cut, codec)


def test_a_chooser_that_wants_the_unknown_is_told() -> None:
    with pytest.raises(BadInput, match=r"the policy wants elsewhere as float32, which has no price at batch 1"):
        play(World({1: TABLE}, constant(1e6)), Fixed(Choice(cut="elsewhere")), Requests(count=1))


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        ({}, r"requests without end"),
        ({"count": 0}, r"1 to 10000000 requests, not 0"),
        ({"until_s": 0.0}, r"for a time above zero, not 0\.0 s"),
        ({"count": 1, "every_s": -1.0}, r"takes 0 to 3600 s, not -1\.0 s"),
        ({"count": 1, "from_s": -1.0}, r"from 0 on, not at -1\.0 s"),
        ({"count": 1, "batches": ()}, r"at least one sample, not 0"),
        ({"count": 1, "batches": (4, 0)}, r"at least one sample, not 0"),
        ({"moments_s": (1.0, 0.5)}, r"number 1 is 0\.5 s"),
        ({"moments_s": (math.nan,)}, r"number 0 is nan s"),
        ({"count": 3, "rule": Batching()}, r"batches form of samples that come by themselves"),
    ],
)
def test_requests_that_make_no_sense_are_refused(made: dict[str, object], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        Requests(**made)  # type: ignore[arg-type]


def test_two_thousand_late_requests_in_a_row_are_only_late() -> None:
    """The pause after each has long been the longest: nothing grows beyond what a float holds."""
    world = World({1: TABLE}, up=constant(1e5), deadline_s=1.0)  # an input takes 48 s
    asked = Requests(count=2000, every_s=6.0)
    alone = play(world, always_server(), asked)
    assert [s.trouble for s in alone.steps] == ["no answer within 1000 ms"] * 2000
    with np.errstate(all="raise"):
        together = statics(world, asked, [(INPUT, "float32")])
    assert together.answered.tolist() == [2000]
    assert together.mean_s[0] == pytest.approx(mean_s(alone))

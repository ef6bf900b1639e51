"""The keeper looks whether a probe is wanted ten times a second, and once the request ends that kept it from that."""

from __future__ import annotations

import threading
import time
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from run_rig import until

from isthmus.errors import Refused, Remote, Unreachable
from isthmus.run import keeper as keeper_module
from isthmus.run.connection import Heard
from isthmus.run.frame import SAFE_CHUNK_BYTES, Kind, chunk_bytes, pack, unpack
from isthmus.run.keeper import Keeper, Probed
from isthmus.run.replies import Came
from isthmus.run.split_pb2 import Arrival, Welcome


class Line:
    """A connection on which nothing is ever wrong."""

    lost = None
    welcome = Welcome()

    def ping(self, timeout_s: float) -> float:
        return 0.01

    def close(self) -> None:
        pass


class Probing(Line):
    """One that carries probes."""

    def probe(self, size_bytes: int, rate_bps: float | None) -> Any:
        arrival = Arrival(bytes_after_first=8_500, seconds=0.01, bytes=size_bytes)
        frame = unpack(pack(Kind.PROBED, 1, arrival.SerializeToString()), 1 << 10)
        return SimpleNamespace(wait=lambda _: Heard(frame, 1.0))


def watched() -> tuple[Keeper, list[float]]:
    """A keeper, and when it looked."""
    looked: list[float] = []

    def wanted(now_s: float) -> int:
        looked.append(now_s)
        return 0

    line: Any = Line()
    return Keeper(lambda: line, clock=time.monotonic, wanted=wanted, probed=lambda _: None), looked


@pytest.mark.parametrize("here", [True, False])
def test_a_look_that_was_missed_is_made_up_for_when_the_request_ends(
    here: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_module, "TICK_S", 0.01)
    monkeypatch.setattr(keeper_module, "COMPUTING_S", 60.0)
    keeper, looked = watched()
    try:
        assert until(lambda: len(looked) > 0)
        with keeper.under_way(here=here):
            assert until(lambda: keeper._missed)
            monkeypatch.setattr(keeper_module, "TICK_S", 60.0)
            time.sleep(0.05)  # the keeper waits for a minute now
            before = len(looked)
        assert until(lambda: len(looked) > before)
    finally:
        keeper.close()


def test_a_probe_that_came_back_is_followed_by_another_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it told may make a second one wanted, at once and not a tick later."""
    monkeypatch.setattr(keeper_module, "TICK_S", 60.0)
    sizes = iter([9_000, 9_000])
    told: list[Probed] = []
    line: Any = Probing()
    keeper = Keeper(lambda: line, clock=time.monotonic, wanted=lambda _: next(sizes, 0), probed=told.append)
    try:
        assert until(lambda: len(told) == 2)
        assert told[1].up_bps == pytest.approx(8 * 8_500 / 0.01)
    finally:
        keeper.close()


def test_while_the_device_computes_probes_go_in_pairs_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one settles what the first told; more would take the device's core."""
    monkeypatch.setattr(keeper_module, "TICK_S", 0.01)
    monkeypatch.setattr(keeper_module, "COMPUTING_S", 60.0)
    told: list[Probed] = []
    line: Any = Probing()
    size = 0
    keeper = Keeper(lambda: line, clock=time.monotonic, wanted=lambda _: size, probed=told.append)
    try:
        assert until(lambda: keeper.line() is not None)
        with keeper.under_way(here=True):
            size = 9_000
            keeper._looked_s = float("-inf")  # the 0.3 s are over
            assert until(lambda: len(told) == 2)
            time.sleep(0.1)
            assert len(told) == 2
    finally:
        keeper.close()


def test_a_device_that_never_rests_is_asked_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper_module, "TICK_S", 0.01)
    monkeypatch.setattr(keeper_module, "COMPUTING_S", 0.05)
    keeper, looked = watched()
    try:
        with keeper.under_way(here=True):
            before = len(looked)
            assert until(lambda: len(looked) > before + 3)
        late = looked[before + 1 : before + 4]
        assert min(b - a for a, b in pairwise(late)) >= 0.05
    finally:
        keeper.close()


def test_what_came_too_quickly_to_tell_a_rate_still_makes_frames_large() -> None:
    keeper, _ = watched()
    try:
        assert keeper.learn(Came(393_216, 0.0001, 401_408)) is None, "no evidence of the rate"
        assert chunk_bytes(1_605_632, keeper.rate_bps) == SAFE_CHUNK_BYTES
        assert keeper.learn(Came(4_096, 0.0001, 8_192)) is None
        assert chunk_bytes(1_605_632, keeper.rate_bps) == SAFE_CHUNK_BYTES, "few bytes tell nothing"
        slow = keeper.learn(Came(50_000, 0.04, 58_192))
        assert slow == keeper.rate_bps == pytest.approx(1e7), "a link that became slow is believed"
    finally:
        keeper.close()


def test_a_lower_bound_takes_nothing_back_of_a_rate_that_was_seen() -> None:
    keeper, _ = watched()
    try:
        fast = keeper.learn(Came(50_000_000, 0.04, 50_008_192))
        assert fast == keeper.rate_bps == pytest.approx(1e10)
        assert keeper.learn(Came(100_000, 0.0001, 108_192)) is None
        assert keeper.rate_bps == fast
    finally:
        keeper.close()


def test_the_least_of_the_latest_round_trips_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was held up says nothing of the way."""
    monkeypatch.setattr(keeper_module, "TICK_S", 0.01)
    monkeypatch.setattr(keeper_module, "PING_EVERY_S", 0.0)
    took = [0.03, 0.01, 0.5]

    class Pinged(Line):
        def ping(self, timeout_s: float) -> float:
            return took.pop(0) if took else 0.02

    line: Any = Pinged()
    keeper = Keeper(lambda: line, clock=time.monotonic, wanted=lambda _: 0, probed=lambda _: None)
    try:
        assert until(lambda: not took and len(keeper._round_trips) > 4)
        assert keeper.rtt_s == 0.01
        assert until(lambda: keeper.rtt_s == 0.02), "what is long past does not count"
    finally:
        keeper.close()


def test_a_server_that_is_not_there_is_knocked_at_more_and_more_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper_module, "TICK_S", 0.005)
    now_s, tries = 0.0, list[float]()

    def refuses() -> Any:
        tries.append(now_s)
        raise Unreachable("nobody there")

    keeper = Keeper(refuses, clock=lambda: now_s, wanted=lambda _: 0, probed=lambda _: None)
    try:
        for count, pause_s in enumerate((0.1, 0.2, 0.4, 0.8, 1.0, 1.0), 1):
            assert until(lambda count=count: len(tries) == count)  # type: ignore[misc]
            now_s += 0.9 * pause_s
            time.sleep(0.05)
            assert len(tries) == count, "the pause is not over"
            now_s += 0.2 * pause_s
    finally:
        keeper.close()


def test_trouble_on_a_connection_that_is_history_is_not_the_new_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper_module, "TICK_S", 0.01)
    lines: Any = [Leaving(), Leaving()]
    later = iter(lines)
    keeper = Keeper(lambda: next(later), clock=time.monotonic, wanted=lambda _: 0, probed=lambda _: None)
    try:
        assert until(lambda: keeper.line() == lines[0])
        lines[0].lost = Unreachable("it broke off")
        assert until(lambda: keeper.line() == lines[1])
        strikes = keeper._health.strikes
        keeper.struck(Unreachable("its answer never came"), lines[0], None)
        assert keeper.line() == lines[1]
        assert keeper._health.strikes == strikes
        keeper.struck(Unreachable("its answer never came"), lines[1], None)
        assert keeper._health.strikes == strikes + 1
    finally:
        keeper.close()


class Leaving(Line):
    """One that may be over while an answer is owed."""

    owes, closed = False, 0
    lost: Any = None

    def close(self) -> None:
        self.closed += 1


def test_a_connection_that_is_over_is_closed_once_no_answer_is_owed_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper_module, "TICK_S", 0.01)
    lines: Any = [Leaving(), Leaving(), Leaving()]
    later = iter(lines)
    keeper = Keeper(lambda: next(later), clock=time.monotonic, wanted=lambda _: 0, probed=lambda _: None)
    assert until(lambda: keeper.line() is lines[0])
    lines[0].owes, lines[0].lost = True, Unreachable("it is closing")
    assert until(lambda: keeper.line() is lines[1]), "others need not wait for it"
    lines[1].lost = Unreachable("it broke off")
    assert until(lambda: keeper.line() is lines[2])
    assert until(lambda: lines[1].closed), "nobody waits there"
    time.sleep(0.05)
    assert not lines[0].closed
    lines[0].owes = False
    assert until(lambda: lines[0].closed)
    lines[2].owes, lines[2].lost = True, Unreachable("it is closing")
    assert until(lambda: keeper.line() is None)
    time.sleep(0.05)
    keeper.close()
    assert lines[2].closed, "who closes the session waits for nothing"
    assert [line.closed for line in lines] == [1, 1, 1]


class Silent(Line):
    """One on which a probe is never answered; closing it is told to whoever waits."""

    def __init__(self) -> None:
        self.probed, self.over = threading.Event(), threading.Event()

    def probe(self, size_bytes: int, rate_bps: float | None) -> Any:
        self.probed.set()
        return SimpleNamespace(wait=self._wait)

    def _wait(self, timeout_s: float) -> Heard:
        self.over.wait(timeout_s)
        raise Unreachable("it was closed" if self.over.is_set() else "nothing came")

    def close(self) -> None:
        self.over.set()


def test_who_closes_does_not_wait_for_a_probe_that_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    line: Any = Silent()
    keeper = Keeper(lambda: line, clock=time.monotonic, wanted=lambda _: 9_000, probed=lambda _: None)
    assert line.probed.wait(10)
    joined: list[bool] = []
    join = keeper._thread.join

    def joining(timeout_s: float) -> None:
        joined.append(line.over.is_set())
        join(timeout_s)

    monkeypatch.setattr(keeper._thread, "join", joining)
    keeper.close()
    assert joined == [True], "the keeper's thread is waited for once it can end"
    assert not keeper._thread.is_alive()
    assert str(keeper.trouble) == "it was closed"


def test_a_connection_that_is_made_when_all_is_over_is_closed() -> None:
    line: Any = Leaving()
    begun, made = threading.Event(), threading.Event()

    def connect() -> Any:
        begun.set()
        assert made.wait(10)
        return line

    keeper = Keeper(connect, clock=time.monotonic, wanted=lambda _: 0, probed=lambda _: None)
    assert begun.wait(10)
    thread, keeper._thread = keeper._thread, threading.Thread()
    keeper._thread.start()  # stands for one whose end is not waited for
    keeper.close()
    made.set()
    thread.join(10)
    assert not thread.is_alive()
    assert line.closed == 1
    assert keeper.line() is None


def test_an_attempt_has_ended_when_it_is_known_what_the_trouble_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waited for its end looks for the trouble next."""
    ended: list[bool] = []
    failed = Keeper._failed

    def watch(self: Keeper, why: Remote) -> None:
        ended.append(self._tried.is_set())
        failed(self, why)

    def refuses() -> Any:
        raise Refused("another model")

    monkeypatch.setattr(Keeper, "_failed", watch)
    keeper = Keeper(refuses, clock=time.monotonic, wanted=lambda _: 0, probed=lambda _: None)
    try:
        assert keeper.wait_tried(10)
        assert str(keeper.trouble) == "another model"
        assert ended[0] is False
    finally:
        keeper.close()

"""A chooser plays in a world: the same code that decides for the live client, told what it would be told.

As the live client: one request at a time; probes only while nothing is on its way to the server, looked for ten times
a second, at the end of a request during which that was missed, and when a probe is back; the first answer that is
missed makes everything run on the device until the server shows itself again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from isthmus.codec import RAW
from isthmus.errors import BadInput
from isthmus.graph.types import INPUT, OUTPUT
from isthmus.link import dispersion_bps
from isthmus.link.probe import lead_bytes
from isthmus.record import Choice, Chooser, Evidence, Ran, Seconds, Step, StepWriter
from isthmus.record.journal import MAX_SECONDS
from isthmus.record.learning import learning_step
from isthmus.record.patience import COMPUTING_S, FIRST_PAUSE_S, LONGEST_PAUSE_S, TICK_S, pause_s
from isthmus.simulate.requests import Due, Requests
from isthmus.simulate.world import Went, World

PING_BYTES = 64


@dataclass
class Played:
    """How the requests of one player went, in order. `lost`: how many had no answer; `waits_s`: how long the samples
    of each waited before it began; `probes`: how many came back."""

    steps: list[Step] = field(default_factory=list)
    waits_s: list[float] = field(default_factory=list)
    asked: int = 0
    lost: int = 0
    probes: int = 0


@dataclass
class _Probe:
    """One on its way. `ended_s` is inf for one that never comes."""

    step: Step
    ended_s: float


def play(
    world: World,
    chooser: Chooser,
    requests: Requests,
    *,
    journal: StepWriter | None = None,
    progress: Callable[[int, float], None] | None = None,
) -> Played:
    """Run the requests through the world as the chooser says.

    journal gets the line of every request and probe. progress is told (requests so far, seconds simulated) now and
    then. Raises BadInput when the chooser wants what is in no table.
    """
    player = _Player(world, chooser, journal)
    walk, free_s = requests.walk(), 0.0
    while (due := walk.next(free_s)) is not None:
        player.idle(due.start_s)
        free_s = player.request(due)
        if progress is not None and player.played.asked % 1000 == 0:
            progress(player.played.asked, free_s)
        if free_s == math.inf:
            break  # nothing ever ends this request, so nothing comes after it
    return player.played


class _Player:
    """The near side: one request, or one probe, after the other."""

    def __init__(self, world: World, chooser: Chooser, journal: StepWriter | None) -> None:
        self.played = Played()
        self._world, self._chooser, self._journal = world, chooser, journal
        self._ids = 0
        self._look_s = 0.0
        self._looked_s = -math.inf
        self._again = False
        self._probe: _Probe | None = None
        self._up_free_s = 0.0
        self._blocked_s = -math.inf
        self._strikes = 0

    def idle(self, until_s: float, apart_s: float = 0.0) -> None:
        """Nothing is on its way until then: probes may be sent, and come back. `apart_s`: the device computes, and
        nobody looks whether a probe is wanted sooner after the last look than that, but at the end."""
        while (now_s := max(self._look_s, -math.inf if self._again else self._looked_s + apart_s)) < until_s:
            again, self._again = self._again, False
            self._look_s = now_s + TICK_S
            if now_s < self._blocked_s:
                self._look_s = min(self._look_s, self._blocked_s)
            elif not again:
                self._looked_s = now_s
            self._deliver(now_s)
            if self._probe is None and now_s >= self._blocked_s:
                size = self._chooser.probe_bytes(now_s)
                if size > 0:
                    self._send_probe(now_s, size)
                    self._again = not again
        if apart_s:
            self._skip(until_s)
        self._deliver(until_s)

    def request(self, due: Due) -> float:
        """One request; returns when it has ended."""
        world, number = self._world, self.played.asked
        self.played.asked += 1
        choice = self._chooser.choose(due.start_s, due.batch)
        beliefs = self._chooser.beliefs
        row = self._row(choice, due.batch)
        went = world.go(
            np.array([row]),
            np.array([due.start_s]),
            due.batch,
            noise=world.draws.at(number),
            up_free_s=self._up_free_s,
            cut_off=due.start_s < self._blocked_s,
            exit_at=choice.exit,
            give_up_s=choice.give_up_s,
            beside=choice.beside,
        )
        trip = _Trip(world, row, due.batch, choice, went)
        if trip.ended_s == math.inf:
            self.played.lost += 1
            return self._lose(trip, beliefs)
        if trip.on_device:
            self.idle(trip.ended_s, COMPUTING_S)
        else:
            self._skip(trip.ended_s)
            self._deliver(trip.ended_s)
        self._after(trip)
        step = trip.step(self._next_id(), beliefs)
        self.played.steps.append(step)
        self.played.waits_s.append(due.wait_s)
        self._tell(step)
        return trip.ended_s

    def _row(self, choice: Choice, batch: int) -> int:
        rows = self._world.sizes_to(choice.exit).at(batch).row
        row = rows.get((choice.cut, choice.codec), rows.get((choice.cut, RAW)) if choice.cut == OUTPUT else None)
        if row is None:
            where = f"at batch {batch}" + (f" and {choice.exit}" if choice.exit else "")
            raise BadInput(f"the policy wants {choice.cut} as {choice.codec}, which has no price {where}")
        return row

    def _lose(self, trip: _Trip, beliefs: tuple[float | None, float | None]) -> float:
        """Nobody answers, and the device cannot: the caller goes on at the deadline, or waits for ever. The chooser is
        told: another exit may be one that the device can."""
        waits_s = math.inf if self._world.deadline_s is None else self._world.deadline_s
        gave_up_s = trip.start_s + waits_s
        if gave_up_s < math.inf:
            self._strike(gave_up_s, gave_up_s)
        self._tell(trip.lost(self._next_id(), min(waits_s, MAX_SECONDS), beliefs))
        return gave_up_s

    def _after(self, trip: _Trip) -> None:
        """What the client makes of how it went: strikes, and the news of an answer that came too late."""
        if trip.late:
            late_s = trip.start_s + trip.patience_s if trip.choice.beside else trip.ended_s - trip.rest_s
            gave_up_s = trip.ended_s if trip.first == "device" else late_s
            if not trip.beaten:
                self._strike(late_s, gave_up_s)
            told = trip.partial(gave_up_s)
            if told is not None:
                self._tell(learning_step(self._next_id(), gave_up_s, 0.0, 0, told, late=True))
        elif not trip.on_device:
            self._strikes = 0

    def _strike(self, late_s: float, gave_up_s: float) -> None:
        """The live client pings after a pause from when the answer was late, but not before the device was done, and
        sends again when a ping has come back."""
        self._strikes += 1
        self._looked_s = -math.inf  # and looks at once whether a probe is wanted
        world, away_s = self._world, pause_s(self._strikes, FIRST_PAUSE_S, LONGEST_PAUSE_S)
        tried_s = world.away.back_s(max(gave_up_s, late_s + away_s))
        self._blocked_s = world.up.finish_s(tried_s, 8 * PING_BYTES) + world.round_trip_s

    def _send_probe(self, now_s: float, size: int) -> None:
        world = self._world
        left_s = world.up.finish_s(max(now_s, self._up_free_s), 8 * size)
        first_s = world.up.finish_s(max(now_s, self._up_free_s), 8 * lead_bytes(size))
        ended_s = left_s + world.round_trip_s
        arrived = np.array([left_s + world.round_trip_s / 2])
        if not math.isfinite(ended_s) or world.away.meets(np.array([now_s]), arrived).any():
            self._strike(now_s, now_s)  # the live client takes a probe that is lost for a server that is away
            return
        told = Evidence(
            up_bps=dispersion_bps((0.0, left_s - first_s), (0, size - lead_bytes(size))), rtt_s=world.round_trip_s
        )
        self._probe = _Probe(learning_step(self._next_id(), now_s, ended_s - now_s, size, told), ended_s)
        self._look_s = ended_s  # the live client's keeper waits for it, and then looks at once
        self._up_free_s = left_s

    def _deliver(self, now_s: float) -> None:
        if self._probe is not None and self._probe.ended_s <= now_s:
            probe, self._probe = self._probe, None
            self._tell(probe.step)
            self.played.probes += 1

    def _skip(self, until_s: float) -> None:
        """Nobody looks before then; who would have does so at once then."""
        self._look_s = max(self._look_s, until_s)

    def _tell(self, step: Step) -> None:
        self._chooser.observe(step)
        if self._journal is not None:
            self._journal.write(step)

    def _next_id(self) -> int:
        self._ids += 1
        return self._ids - 1


class _Trip:
    """One request as it went, in plain numbers, and the line of the journal it becomes."""

    def __init__(self, world: World, row: int, batch: int, choice: Choice, went: Went) -> None:
        self.world, self.batch, self.choice = world, batch, choice
        table = world.sizes_to(choice.exit).at(batch).table
        self.up_bytes, self.down_bytes = int(table.up_bytes[row]), int(table.down_bytes[row])
        sent = went.sent
        self.first = table.first
        moments = (sent.start_s, sent.headed_s, sent.begins_s, sent.left_s, sent.arrived_s, sent.begun_s, sent.done_s)
        self.start_s, self.headed_s, self.begins_s, self.left_s = (float(a[0]) for a in moments[:4])
        self.arrived_s, self.begun_s, self.done_s = (float(a[0]) for a in moments[4:])
        self.back_s = float(sent.back_s[0])
        self.ended_s, self.rest_s = float(went.ended_s[0]), float(went.rest_s[0])
        self.late, self.off = bool(went.late[0]), bool(went.off[0])
        self.on_device = self.off or (self.up_bytes == 0 and self.down_bytes == 0)

    @property
    def patience_s(self) -> float:
        """How long after it began the server's answer is not late."""
        return self.world.patience_s(self.choice.give_up_s)

    @property
    def beaten(self) -> bool:
        """Whether the device was first before the server was late."""
        return self.late and self.choice.beside and self.ended_s < self.start_s + self.patience_s

    @property
    def ran(self) -> Ran:
        """Where the answer was computed."""
        if self.on_device or self.late:
            return "device"
        return "server" if self.choice.cut == INPUT else "split"

    def seconds(self) -> Seconds:
        """By cause; the sum is the whole."""
        total = self.ended_s - self.start_s
        if self.late:
            head = self.headed_s - self.start_s
            return Seconds(total=total, head=head, local=self.rest_s, lost=max(0.0, total - head - self.rest_s))
        if self.on_device:
            return Seconds(total=total, local=total)
        mine, theirs = self.headed_s - self.start_s, self.done_s - self.begun_s
        if self.first == "server":
            mine, theirs = theirs, self.ended_s - self.back_s
        return Seconds(
            total=total,
            head=mine,
            up=self.arrived_s - self.headed_s,
            queue=self.begun_s - self.arrived_s,
            tail=theirs,
            down=self.back_s - self.done_s,
        )

    def evidence(self) -> Evidence:
        """What the answer told about link and server."""
        if self.on_device or self.late:
            return Evidence()
        return Evidence(
            up_bps=self._dispersion(self.left_s, self.up_bytes),
            rtt_s=self.world.round_trip_s,
            server_s=self.done_s - self.begun_s,
            device_s=self.ended_s - self.back_s if self.first == "server" else None,
            queue_s=self.begun_s - self.arrived_s,
        )

    def partial(self, gave_up_s: float) -> Evidence | None:
        """What had come in when the client gave up tells of the link; None where it does not."""
        if self.begins_s >= gave_up_s or self.world.away.meets(np.array([self.start_s]), np.array([gave_up_s])).any():
            return None
        came = min(self.up_bytes, int(self.world.up.bits_between(self.begins_s, gave_up_s) / 8))
        rate = self._dispersion(min(self.left_s, gave_up_s), came)
        return None if rate is None else Evidence(up_bps=rate, rtt_s=self.world.round_trip_s)

    def _dispersion(self, until_s: float, count: int) -> float | None:
        lead = lead_bytes(self.up_bytes)
        first_s = self.world.up.finish_s(self.begins_s, 8 * lead)
        return dispersion_bps((0.0, until_s - first_s), (0, count - lead))

    def step(self, number: int, beliefs: tuple[float | None, float | None]) -> Step:
        """The journal's line."""
        here = self.ran == "device"
        trouble = self._trouble()
        return Step(
            id=number,
            t_s=self.start_s,
            ran=self.ran,
            cut=OUTPUT if here else self.choice.cut,
            codec=RAW if self.off or self.late else self.choice.codec,
            first="device" if here else self.first,
            batch=self.batch,
            exit=self.choice.exit,
            seconds=self.seconds(),
            up_bytes=0 if self.off else self.up_bytes,
            down_bytes=0 if here else self.down_bytes,
            evidence=self.evidence(),
            asked=self.choice.cut if trouble or self.beaten else "",
            trouble=trouble,
            predicted_s=self.choice.predicted_s,
            estimate_bps=beliefs[0],
            estimate_load=beliefs[1],
            true_bps=self.world.up.rate_at(self.start_s),
        )

    def lost(self, number: int, waited_s: float, beliefs: tuple[float | None, float | None]) -> Step:
        """The line of a request that nobody answers; it says where it was to run."""
        return Step(
            kind="lost",
            id=number,
            t_s=self.start_s,
            ran="server" if self.choice.cut == INPUT else "split",
            cut=self.choice.cut,
            codec=self.choice.codec,
            first=self.first,
            batch=self.batch,
            exit=self.choice.exit,
            seconds=Seconds(total=waited_s, lost=waited_s),
            up_bytes=0 if self.off else self.up_bytes,
            trouble="nobody answered: the server was away, and the device cannot",
            predicted_s=self.choice.predicted_s,
            estimate_bps=beliefs[0],
            estimate_load=beliefs[1],
            true_bps=self.world.up.rate_at(self.start_s),
        )

    def _trouble(self) -> str:
        if self.off:
            return "the server has not answered since the last request that failed"
        if self.late and not self.beaten:
            return f"no answer within {self.patience_s * 1e3:.0f} ms"
        return ""


def changes(world: World, until_s: float, most: int = 50_000) -> Iterator[tuple[float, float]]:
    """(t_s, bit/s) at which the true uplink changes, up to then: a journal's `link_trace`."""
    trace = world.up
    rounds = math.ceil(until_s / trace.duration_s) if trace.loop else 1
    count = 0
    for turn in range(rounds):
        for t_s, bps in zip(trace.times_s.tolist(), trace.rates_bps.tolist(), strict=True):
            at_s = turn * trace.duration_s + t_s
            if at_s > until_s or count >= most:
                return
            count += 1
            yield at_s, bps

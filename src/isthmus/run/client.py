"""A session: requests go in, answers come out, wherever they are computed. None is lost to the network where the device
may and can finish it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Self

from isthmus.errors import BadInput, IsthmusError, Late, Refused, Remote
from isthmus.graph import INPUT, OUTPUT
from isthmus.record.batching import Batching
from isthmus.record.learning import learning_step
from isthmus.record.types import Choice, Chooser, Step, StepWriter
from isthmus.run import forked
from isthmus.run.batcher import Batcher
from isthmus.run.beside import Beside, overtaken
from isthmus.run.codecs import Codecs
from isthmus.run.connection import Connection, Heard, Ticket
from isthmus.run.decider import Decider
from isthmus.run.early import Early
from isthmus.run.frame import Kind
from isthmus.run.halves import Halves
from isthmus.run.keeper import Keeper, Probed
from isthmus.run.policy import all_here, lost, within
from isthmus.run.replies import arrival_in, said_in
from isthmus.run.scribe import Scribe
from isthmus.run.server_first import LeavingBack, PlainBack
from isthmus.run.trip import Trip, evidence
from isthmus.run.types import Answer, Array, Arrays, Mode
from isthmus.run.verify import Verifier
from isthmus.run.work import Leaving, Plain, Work


class Session:
    """Made by `connect_engine`. May be used by several threads, and as a context manager."""

    def __init__(
        self,
        halves: Halves,
        codecs: Codecs,
        chooser: Chooser,
        *,
        mode: Mode,
        deadline_s: float,
        clock: Callable[[], float],
        journal: StepWriter | None,
        true_bps: Callable[[float], float | None] | None,
        verifier: Verifier | None,
        early: Early | None = None,
    ) -> None:
        self._early, self._forks = early, forked.forks
        self._halves, self._codecs, self._decider = halves, codecs, Decider(chooser)
        self._mode, self._deadline_s, self._clock = mode, deadline_s, clock
        self._scribe, self._true_bps, self._verifier = Scribe(journal), true_bps, verifier
        self._keeper: Keeper | None = None
        self._only_there = mode == "only_on_server" or halves.finishes == "never"
        """Whether nobody but the server may end a request."""
        self._zero_s = clock()
        self._ids = itertools.count()

    def attach(self, connect: Callable[[Callable[[Heard], None]], Connection]) -> Keeper:
        """Starts reaching for the server. `connect` makes a connection that reports late answers to its argument."""
        self._keeper = Keeper(
            lambda: connect(self._late), clock=self._clock, wanted=self._probe_bytes, probed=self._learned
        )
        return self._keeper

    def infer(self, inputs: Mapping[str, Array]) -> Answer:
        """The model's outputs for these inputs, by name, with the shapes and dtypes of the model's signature; that of
        one exit, where the choice names one or inputs may leave early.

        Raises BadInput for inputs the model does not take, and in a fork of the process that made the session. The
        network raises nothing, except where nobody but the server may end a request: in the mode `only_on_server`, and
        on a device that holds no whole network (`Runner.finishes` is "never"). Then Unreachable, Late or Refused, and
        BadInput for more samples or bytes than the server takes.
        """
        if self._forks != forked.forks:
            raise forked.refusal("session")
        trip, work = self._begin(inputs)
        with self._under_way(work):
            if work.cut == OUTPUT:
                work = self._here(trip, work, inputs)
            else:
                self._there(trip, work)
            trip.ended_s = trip.ended_s or self._clock()
            trip.exit, trip.exits = work.exit, work.exits
            outputs = work.outputs()
            step = self._told(trip)
        return Answer(outputs, self._record(step, trip, inputs, outputs), exits=work.exits)

    def batched(self, max_batch: int = 8, max_delay_s: float = 0.01, *, most_waiting: int = 1024) -> Batcher:
        """Gathers requests of any number of callers into batches of up to `max_batch` samples; none waits longer than
        `max_delay_s` for others, but for the batch before it. At most `most_waiting` samples wait.

        The first time, the network is run on 14 samples, to see that they leave one another alone. Raises BadInput
        for a model whose batch is fixed, or whose answer to one sample changes with the others in its batch (a mean
        over the batch, dynamic quantisation), and for more samples than the server takes.
        """
        if self._forks != forked.forks:
            raise forked.refusal("session")
        rule = Batching(max_batch, max_delay_s)
        line = self._keeper.line() if self._keeper is not None else None
        most = line.welcome.max_batch if line is not None else 0
        if 0 < most < max_batch:
            raise BadInput(f"the server takes batches of up to {most}, not {max_batch}")
        return Batcher(self.infer, self._halves, rule, most_waiting=most_waiting, clock=self._clock)

    def now_s(self) -> float:
        """Seconds on the journal's clock."""
        return self._clock() - self._zero_s

    @property
    def connected(self) -> bool:
        """Whether a request would be sent now if the choice were to send it."""
        return self._forks == forked.forks and self._keeper is not None and self._keeper.line() is not None

    @property
    def unreached(self) -> Remote | None:
        """Why the server that was wanted was never there; None where it was, or nobody wanted it."""
        return None if self._keeper is None or self._keeper.reached else self._keeper.trouble

    def wait_connected(self, timeout_s: float) -> bool:
        """Until requests can be sent; False when the time was up first."""
        if self._keeper is None or self._forks != forked.forks:
            return False
        try:
            self._keeper.wait_line(timeout_s)
        except Remote:
            return False
        return True

    @property
    def unwritten(self) -> BadInput | None:
        """What the journal lacks, and why; None where it lacks nothing. A line lost costs no answer."""
        return self._scribe.unwritten

    @property
    def stumbled(self) -> BadInput | None:
        """How often the chooser failed at hearing of a request or wishing for a probe, and why; None where it never
        did. It costs no answer."""
        return self._decider.stumbled

    def close(self) -> None:
        """Ends the session; the server hears of it. In a fork it does nothing: the connection is the parent's."""
        if self._keeper is not None and self._forks == forked.forks:
            self._keeper.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _begin(self, inputs: Arrays) -> tuple[Trip, Work]:
        batch = self._halves.batch_of(inputs)
        started = self._clock()
        choice, beliefs = self._decider.choose(started - self._zero_s, batch)
        if self._mode != "auto":
            choice = within(self._mode, choice, self._network(choice))
        if choice.beside and self._early is not None:  # no one answer to race with, and none to be waited for
            choice = all_here(choice, choice.why)
        return Trip(started, choice, batch, beliefs), self._work(choice, inputs, batch)

    def _network(self, choice: Choice) -> Halves:
        """What of the model is run for a choice. Raises BadInput for an exit that is none."""
        if self._early is not None:
            return self._early.to(choice.exit).halves
        return self._halves if choice.exit is None else self._halves.at_exits((choice.exit,))

    def _work(self, choice: Choice, inputs: Arrays, batch: int) -> Work:
        back = choice.first == "server" and choice.cut not in (INPUT, OUTPUT)
        if self._early is None:
            network = self._network(choice)
            if back:
                return PlainBack(network, choice, inputs, batch, self._codecs)
            return Plain(network, choice, inputs, batch)
        staged = self._early.to(choice.exit)
        if back:
            return LeavingBack(staged, choice, inputs, batch, self._clock, self._codecs)
        return Leaving(staged, choice, inputs, batch, self._clock)

    def _under_way(self, work: Work) -> AbstractContextManager[None]:
        return nullcontext() if self._keeper is None else self._keeper.under_way(here=work.cut == OUTPUT)

    def _here(self, trip: Trip, work: Work, inputs: Arrays) -> Work:
        """All of it here. What the device cannot do, the server may be asked for: other work."""
        try:
            self._finish(trip, work)
        except (MemoryError, IsthmusError):
            if self._mode != "prefer_on_device" or trip.asked.cut != OUTPUT:
                raise
            trip.asked = Choice(cut=INPUT, exit=trip.asked.exit, why="the device could not compute it")
            work = self._work(trip.asked, inputs, trip.batch)
            with self._under_way(work):
                self._there(trip, work)
        return work

    def _there(self, trip: Trip, work: Work) -> None:
        """Head here, tail there; whatever goes wrong on the way, the rest is computed here."""
        keeper = self._keeper
        if keeper is None:
            raise BadInput("the session has no server")
        try:
            line = keeper.wait_line(self._deadline_s if self._only_there else 0.0)
        except Remote as e:
            return self._instead(trip, work, e)
        line.attend(+1)
        try:
            begun = self._clock()
            crossing = work.head()
            trip.head_s = self._clock() - begun
            if crossing is not None:
                self._send_or_finish(trip, work, line, keeper, crossing)
        finally:
            line.attend(-1)

    def _send_or_finish(self, trip: Trip, work: Work, line: Connection, keeper: Keeper, crossing: Arrays) -> None:
        try:
            self._send(trip, work, line, keeper, crossing)
        except (Remote, BadInput) as e:
            if self._halves.finishes != "never" or not self._sent_again(trip, work, keeper, crossing):
                self._instead(trip, work, e)
                return
        if work.first == "server":
            self._finish(trip, work)

    def _sent_again(self, trip: Trip, work: Work, keeper: Keeper, crossing: Arrays) -> bool:
        """Nobody here could finish: whenever the server shows itself again before the deadline it is asked again.
        False where it never answered."""
        while (left_s := trip.started_s + self._deadline_s - self._clock()) > 0:
            try:
                line = keeper.wait_line(left_s)
                line.attend(+1)
                try:
                    self._send(trip, work, line, keeper, crossing)
                    return True
                finally:
                    line.attend(-1)
            except (Remote, BadInput) as e:
                if isinstance(e, Refused | BadInput) or keeper.closed:
                    break
        return False

    def _send(self, trip: Trip, work: Work, line: Connection, keeper: Keeper, crossing: Arrays) -> None:
        """Asks the server for the rest. Raises Remote or BadInput; strikes are noted."""
        if work.first == "server" and not line.welcome.heads:
            raise Refused(
                f"the server at {line.address} is older and cannot run the first part of a network; update it"
            )
        begun = self._clock()
        try:
            heads, payloads = self._codecs.dump(trip.asked.codec, crossing)
        except BadInput:
            trip.unsendable = True
            raise
        sent = self._clock()
        trip.encode_s = sent - begun
        left = self._patience_s(trip.asked) - (sent - trip.started_s)
        if left <= 0:
            raise Late(f"the head alone took longer than the {self._patience_s(trip.asked) * 1e3:.0f} ms there are")
        ticket: Ticket | None = None
        try:
            ticket = line.ask(work.place, work.batch, heads, payloads, keeper.rate_bps)
            trip.up_bytes, trip.rtt_s = ticket.parcel.total, keeper.rtt_s
            heard = self._heard(trip, work, ticket, left)
            if heard is None:
                line.give_up(ticket)
                return
            said = said_in(heard.frame)
            begun = self._clock()
            work.took(heard.frame)
            trip.decode_s = self._clock() - begun
        except (Remote, BadInput) as e:
            trip.unsendable = ticket is None and isinstance(e, BadInput)
            if not trip.unsendable:
                why = e if isinstance(e, Remote) else Refused(str(e))
                late_s = self._clock() - trip.started_s - self._patience_s(trip.asked)
                keeper.struck(why, line, ticket if isinstance(e, Late) else None, ago_s=max(0.0, late_s))
            raise
        if work.first == "device":
            trip.ended_s = self._clock()  # nothing is left to compute; the rest is book-keeping
        trip.cut, trip.codec, trip.first, trip.said = work.cut, trip.asked.codec, work.first, said
        trip.down_bytes, trip.spread = len(heard.frame.body), heard.spread
        trip.up_bps = keeper.served(said.arrival)

    def _heard(self, trip: Trip, work: Work, ticket: Ticket, left_s: float) -> Heard | None:
        """The server's word, where it comes first; after `left_s`, or at once where the choice says so, the device
        begins too, if it can. None: the device was first, and nobody late. Raises Remote."""
        end_s = self._clock() + left_s
        races = isinstance(work, Plain) and work.first == "device" and not self._only_there
        try:
            return ticket.wait(0.0 if races and trip.asked.beside else left_s)
        except Late:
            if not races or not isinstance(work, Plain):
                raise
            beside = Beside(work.rest(), self._clock)
            word = overtaken(ticket, beside)
            if isinstance(word, Heard):
                return word
            if beside.outputs is None:
                return ticket.wait(max(0.0, end_s - self._clock()))
            trip.local_s = beside.took_s
            work.given(beside.outputs)
            if word is not None:  # the device's answer stands; what went wrong there is told
                raise word from None
            if self._clock() >= end_s:
                raise
            return None

    def _patience_s(self, choice: Choice) -> float:
        """How long after it began a request may still wait for the server. Where the user wants the server's answer,
        only the deadline counts."""
        if self._mode not in ("auto", "private") or choice.give_up_s is None:
            return self._deadline_s
        return min(self._deadline_s, choice.give_up_s)

    def _instead(self, trip: Trip, work: Work, why: IsthmusError) -> None:
        """The device finishes, unless it must not."""
        trip.trouble = str(why)
        if self._only_there:
            never = self._halves.finishes == "never" and not isinstance(why, BadInput)  # which would never be sent
            error = lost(why, self._deadline_s) if never else why
            if isinstance(error, Remote):
                trip.ended_s = self._clock()
                self._scribe.write(trip.lost(*self._line_of(trip)))
            raise error
        self._finish(trip, work, lambda: trip.started_s + self._deadline_s - self._clock())
        if work.cut_short:
            trip.trouble += f"; {work.exit} had answered by then"

    def _finish(self, trip: Trip, work: Work, left_s: Callable[[], float] | None = None) -> None:
        begun = self._clock()
        work.finish(left_s)
        trip.local_s += self._clock() - begun

    def _line_of(self, trip: Trip) -> tuple[int, float, float | None]:
        """Number, zero of the clock and real rate for a request's line."""
        t_s = trip.started_s - self._zero_s
        return next(self._ids), self._zero_s, self._true_bps(t_s) if self._true_bps else None

    def _told(self, trip: Trip) -> Step:
        """The request's line, which the chooser has heard; but for one that tells of neither link nor server."""
        step = trip.step(*self._line_of(trip))
        if not trip.unsendable:
            self._decider.observe(step)
        return step

    def _record(self, step: Step, trip: Trip, inputs: Arrays, outputs: Arrays) -> Step:
        """The line as the journal has it: with what checking the answer showed."""
        if self._verifier is not None:
            step = self._verifier.check(step, trip, inputs, outputs)
        self._scribe.write(step)
        return step

    def _learn(self, step: Step) -> None:
        """What nobody's request showed. Raises nothing: the threads that tell of it take an error for the server's."""
        self._decider.observe(step)
        self._scribe.write(step)

    def _probe_bytes(self, now_s: float) -> int:
        return self._decider.probe_bytes(now_s - self._zero_s)

    def _learned(self, probe: Probed) -> None:
        told = evidence(None, probe.up_bps, probe.rtt_s)
        took = probe.ended_s - probe.started_s
        self._learn(learning_step(next(self._ids), probe.started_s - self._zero_s, took, probe.size_bytes, told))

    def _late(self, heard: Heard) -> None:
        """An answer nobody waits for any more still tells how fast the link is and how loaded the server."""
        keeper = self._keeper
        if keeper is None or heard.frame.kind not in (Kind.REPLY, Kind.CANCELLED):
            return
        said = said_in(heard.frame) if heard.frame.kind is Kind.REPLY else None
        arrival = said.arrival if said is not None else arrival_in(heard.frame)
        told = evidence(said, keeper.learn(arrival), keeper.rtt_s, heard.spread)
        t_s = heard.at_s - self._zero_s
        self._learn(learning_step(next(self._ids), t_s, arrival.seconds, arrival.bytes, told, late=True))

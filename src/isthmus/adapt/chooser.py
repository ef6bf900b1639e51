"""The chooser: prices every candidate with what is believed now and takes the cheapest, reluctantly.

Neurosurgeon (Kang et al., ASPLOS 2017) re-evaluates its cut before every request from the current bandwidth and server
load; dynamic split computing (Bakhtiarnia et al., 2023) does so from a table. The same here, with what a real link asks
for besides: a margin before moving, probes where nothing is learnt otherwise, and a server that may be away.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from isthmus.adapt.aftermath import Aftermath
from isthmus.adapt.bandwidth import HIGHEST_BPS, LOWEST_BPS, Bandwidth
from isthmus.adapt.besides import sent_besides, sent_for_news
from isthmus.adapt.change_points import Prior
from isthmus.adapt.downlink import Downlink
from isthmus.adapt.habits import Habits
from isthmus.adapt.health import Health
from isthmus.adapt.lateness import LATE_S, Lateness, Seconds
from isthmus.adapt.load import LoadFactor, Recent
from isthmus.adapt.server import Server
from isthmus.adapt.sizes import Size, Sizes
from isthmus.adapt.transfers import SLOW, at_least_bps, crawled_bps
from isthmus.plan.cost import CostTable
from isthmus.record import Choice, Side, Step

DOUBT = 0.3
"""Above this probability of an unseen change a probe is sent at once instead of waiting for the next request."""
STEP_S = 0.5
"""What is believed ages in steps of this: the rate loses a part in a thousand by then, a server's load 3 %. So that the
next decision can be made before it is asked for."""
AHEAD_S = 0.1
"""The live client asks after probes this often: decisions are made for so long ahead."""
KEPT = 16
"""Decisions made ahead, at most: nothing may have been asked for hours."""
ENDS = 1.28
"""Standard deviations: a rate is believed to lie below the one end once in ten times, and above the other."""
SETTLED = 8.0
"""Samples of a rate after which probes are as rare as `Habits.probe_every_s`; after a quarter, four times as often."""


class _Decided(NamedTuple):
    """A decision, and what it leaves behind: `Size.current` and `Size.forgone`. rows: the one taken, and the one that
    would have been had `Hindsight` held nothing back; latency: what every choice was expected to take; news: something
    is sent only because what is known of the server is old."""

    choice: Choice
    at: int | None
    forgone: float
    rows: tuple[int, int]
    latency: Seconds
    news: bool = False


class TableChooser:
    """A `Chooser` over the candidates of a cost table, or of one table for each batch size; a batch without a table is
    priced by its nearest neighbour's (`Sizes`). `table.link` is what is believed before anything is measured.

    Times are seconds on any one rising clock; nothing here reads a clock, so simulations run the same code.
    """

    def __init__(
        self,
        table: CostTable | Mapping[int, CostTable],
        habits: Habits | None = None,
        *,
        prior: Prior | None = None,
    ) -> None:
        self.habits = habits or Habits()
        self._sizes = Sizes(table if isinstance(table, Mapping) else {1: table})
        self._size = self._sizes.least
        link = self._size.table.link
        self._bandwidth = Bandwidth(min(link.up_bps, HIGHEST_BPS), prior)
        self._downlink = Downlink(self._bandwidth, link.down_bps / link.up_bps, prior)
        self._server = Server()
        self._device = LoadFactor()
        self._rtt = Recent(link.rtt_s)
        self._health = Health()
        self._lateness = Lateness()
        self._asked_s = self._chosen_s = self._fruitless_s = -math.inf
        self._probe_away = False
        self._now_s = 0.0
        self._seen_bps = self._bandwidth.bps
        """the last sample"""
        self._made: tuple[Size, _Decided] | None = None
        """the decision last asked for, until its request has ended"""
        self._aftermath = Aftermath(self._as_seen_s, self.habits.deadline_s)
        self._ready: dict[int, _Decided] = {}
        """Decisions for the batch size chosen for last, by the step of time they are for, from the state it is in."""

    def choose(self, now_s: float, batch: int = 1) -> Choice:
        """Where the request of `batch` samples that starts now should run. Mostly a look-up: what to do next has been
        decided when `probe_bytes` was asked last."""
        self._now_s = self._chosen_s = now_s
        size = self._sizes.at(batch)
        if size is not self._size:
            self._size = size
            self._ready.clear()
        found = self._ready.get(int(now_s / STEP_S)) or self._decided(now_s)
        if found.at != size.current or found.forgone != size.forgone:
            size.current, size.forgone = found.at, found.forgone
            self._ready.clear()
        if found.news:
            self._server.asked(now_s)
            self._ready.clear()
        elif found.at != size.whole:
            self._server.taken()
        self._made = None if self._health.down else (size, found)
        return found.choice

    def observe(self, step: Step) -> None:
        """Learn from one request or probe: bandwidth, round trip, server and device times, and whether it failed."""
        self._ready.clear()
        if step.kind == "probe" or step.evidence.up_bps is not None:
            self._probe_away = False
        now = self._now_s = step.t_s + step.seconds.total
        told_bps = self._learn_link(step, now)
        if step.kind == "probe" and told_bps is None:
            self._fruitless_s = now
        self._look_back(step, told_bps)
        if step.kind == "request" and step.up_bytes:
            self._lateness.sent(late=bool(step.trouble))
        if step.trouble:
            self._health.failed(began_s=step.t_s, now_s=now, probe=step.kind == "probe")
            return
        self._learn_work(step, now)
        if step.kind == "probe" or step.ran != "device":
            unsure = step.evidence.up_bps is not None and self.in_doubt
            if not (self._health.down and unsure):  # the first sample after a failure may announce a change: ask again
                self._health.answered(began_s=step.t_s, now_s=now, probe=step.kind == "probe")

    def probe_bytes(self, now_s: float) -> int:
        """How many bytes a probe sent now should carry; 0 when none is wanted. Asking counts as sending."""
        self._now_s = now_s
        if self._probe_wanted(now_s):
            self._asked_s, self._probe_away = now_s, True
            self._ready.clear()
            return self.habits.probe_bytes
        for at_s in (now_s, now_s + AHEAD_S):
            if int(at_s / STEP_S) not in self._ready:
                self._decided(at_s)
        return 0

    @property
    def beliefs(self) -> tuple[float | None, float | None]:
        """(uplink bit/s, server load factor) at the last moment this was asked or told anything."""
        return self._bandwidth.bps, self._server.load(self._now_s)

    @property
    def first(self) -> Side:
        """The side that runs the part before the cut."""
        return self._size.table.first

    @property
    def alone_s(self) -> float | None:
        """What the device takes for all of it now, at the batch size chosen for last; None where it may not."""
        size = self._size
        return None if size.whole is None else float(size.table.device_s[size.whole]) * self._device.at(self._now_s)

    @property
    def in_doubt(self) -> bool:
        """The last sample was unlike those before: the rate may have changed, although the belief has not."""
        return self._bandwidth.doubt > DOUBT

    @property
    def server_away(self) -> bool:
        """The server was given up until it answers again."""
        return self._health.down

    def _decided(self, at_s: float) -> _Decided:
        """What to do at this moment, kept for whoever asks next; not while a probe is on its way, for that passes."""
        found = self._decide(self._size, at_s)
        if not self._probe_away:
            if len(self._ready) >= KEPT:
                self._ready.clear()
            self._ready[int(at_s / STEP_S)] = found
        return found

    def _decide(self, size: Size, at_s: float) -> _Decided:
        """What to do at this moment, from the state `size` is in; nothing is changed. Beliefs are those of the step of
        time that the moment lies in, unless a probe is on its way: then every millisecond counts."""
        now_s = at_s if self._probe_away else STEP_S * int(at_s / STEP_S)
        up_bps = self._no_faster_than(self._bandwidth.worth_bps(now_s), now_s)
        down_bps = self._downlink.worth_bps(now_s)
        latency = self._latency_s(size, up_bps, down_bps, now_s)
        at, free, forgone, why = self._pick(size, latency, now_s)
        may = self.habits.besides and not self._health.down
        both = sent_besides(size, latency, at, free, self.habits) if may else None
        news = may and both is None and at == free and not self._probe_away and self._server.is_old(now_s)
        if news:
            idle = self._latency_s(size, up_bps, down_bps, now_s, idle=True)
            both = sent_for_news(size, idle, at, self.habits)
        kept = at if both is None else both
        choice = Choice(
            cut=size.table.asked[kept],
            codec=size.table.codecs[kept],
            first=size.table.first,
            predicted_s=float(latency[kept]),
            give_up_s=size.give_up_s(latency, kept),
            beside=both is not None,
            why=why if both is None else f"{why}; the server is asked besides",
        )
        if self._probe_away:  # that passes, and is no reason to be reluctant afterwards
            return _Decided(choice, size.current, size.forgone, (kept, free), latency)
        return _Decided(choice, at, forgone, (kept, free), latency, news and both is not None)

    def _latency_s(self, size: Size, up_bps: float, down_bps: float, now_s: float, *, idle: bool = False) -> Seconds:
        """Every candidate at these rates, at the server as it is believed to be or idle. The wait there is paid by
        whatever goes there, as half a round trip each way is; what goes up goes behind a probe."""
        server = self._server
        load, wait_s = (server.at_best(now_s), 0.0) if idle else (server.load(now_s), server.wait_s(now_s))
        rtt_s = self._rtt.at(now_s) + wait_s
        latency_s = size.table.latency_s(up_bps, down_bps, rtt_s, load, self._device.at(now_s))
        if self._probe_away:
            behind_s = self._asked_s + 8 * self.habits.probe_bytes / up_bps - now_s
            latency_s += max(0.0, behind_s) * size.table.sends_up
        return latency_s

    def _risk_s(self, size: Size, latency: Seconds) -> Seconds | float:
        """What it costs on average that answers may be late: the rest on the device, as often as that was so."""
        if size.whole is None:
            return 0.0
        risk_s: Seconds = self._lateness.share * size.table.sends_up * (LATE_S + size.rest_s(latency))
        return risk_s

    def _no_faster_than(self, up_bps: float, now_s: float) -> float:
        """A probe that is not back yet says how fast the link is at most."""
        late_s = now_s - self._asked_s - self._rtt.least if self._probe_away else 0.0
        return max(LOWEST_BPS, min(up_bps, 8 * self.habits.probe_bytes / late_s)) if late_s > 0 else up_bps

    def _pick(self, size: Size, latency: Seconds, now_s: float) -> tuple[int, int, float, str]:
        """(the row to take, the one to take if nothing were held back, what will have been forgone by then, why)."""
        if self._health.down and size.whole is not None:
            return size.whole, size.whole, size.forgone, "the server does not answer"
        allowed, why = self._in_time(size, latency, now_s)
        worth = latency + self._risk_s(size, latency)
        free = int(allowed[np.argmin(worth[allowed])])
        allowed = size.hindsight.rows(self._cases_s(size, latency, now_s), allowed, free)
        best = int(allowed[np.argmin(worth[allowed])])
        current = size.current
        if best != free:
            why = f"{why} of what risks no more than may be lost"
        if current is None or current == best:
            return best, free, 0.0, why
        gain = 1 - float(worth[best]) / max(float(worth[current]), 1e-12)
        if gain <= self.habits.margin and size.forgone <= self.habits.patience and current in allowed:
            return current, free, size.forgone + gain, f"kept: {gain:.1%} is too little to move for yet"
        return best, free, 0.0, why

    def _cases_s(self, size: Size, latency: Seconds, now_s: float) -> Seconds:
        """What may come of the next request, shape (cases, choices): as expected; the link at the low and at the high
        end of what is believed; and it falls, so that the device does the rest of whatever was sent."""
        down_bps = self._downlink.worth_bps(now_s)
        cases = [latency]
        for deviations in (ENDS, -ENDS):
            up_bps = self._no_faster_than(self._bandwidth.low_bps(now_s, deviations), now_s)
            cases.append(self._latency_s(size, up_bps, down_bps, now_s))
        if size.whole is None:
            return np.stack(cases)
        raced_s = size.raced_s(latency)
        return np.minimum(np.stack([*cases, raced_s]), raced_s)

    def _in_time(self, size: Size, latency: Seconds, now_s: float) -> tuple[NDArray[np.intp], str]:
        """The candidates to choose among: those that meet the deadline even at the low end of what the link may carry,
        else those that are expected to, else all."""
        deadline_s = self.habits.deadline_s
        if deadline_s is None:
            return size.every, "cheapest"
        low_bps = self._no_faster_than(self._bandwidth.low_bps(now_s), now_s)
        careful = self._latency_s(size, low_bps, self._downlink.low_bps(now_s), now_s)
        for priced, why in ((careful, "cheapest that is surely in time"), (latency, "cheapest that should be in time")):
            meets = np.flatnonzero(priced <= deadline_s)
            if meets.size:
                return meets, why
        return size.every, f"cheapest; nothing meets {deadline_s * 1e3:.0f} ms"

    def _probe_wanted(self, now_s: float) -> bool:
        gap_s = self._gap_s()
        if not self.habits.probe_bytes or now_s < self._asked_s + gap_s:
            return False
        if not self._unsure() and self._bandwidth.age_s(now_s) < gap_s:
            return False
        return self._worth_knowing(now_s)

    def _unsure(self) -> bool:
        """Down, or in a doubt that could change anything. A link that may have become faster does not matter where the
        present choice is right at that rate too, and at one as far beyond it again, for what rises may rise on; one
        that may have fallen always does."""
        if self._health.down or not self.in_doubt:
            return self._health.down
        seen, believed = self._seen_bps, self._bandwidth.bps
        return seen <= believed or not self._right_at(seen, min(HIGHEST_BPS, seen / believed * seen))

    def _right_at(self, *rates_bps: float) -> bool:
        """Whether the present choice is right, within the margin, at these rates as well as at the believed one."""
        size, believed_bps = self._size, self._bandwidth.bps
        if size.current is None or self.habits.deadline_s is not None:
            return False
        for bps in (believed_bps, *rates_bps):
            down_bps = self._downlink.worth_bps(self._now_s) * bps / believed_bps
            latency = self._latency_s(size, bps, down_bps, self._now_s)
            if float(latency[size.current]) > (1 + self.habits.margin) * float(latency.min()):
                return False
        return True

    @property
    def _told_since_asked(self) -> bool:
        """Whether the link has shown its rate since the last probe was asked for."""
        return self._bandwidth.last_s is not None and self._bandwidth.last_s > self._asked_s

    def _gap_s(self) -> float:
        """The least time between two probes: short while the present rate is news, for what has just changed changes
        again, and the whole `probe_every_s` once it has been seen `SETTLED` times. After a request that taught nothing,
        as short as `probe_share` allows: a probe then stands for what a request to the server would have told; where it
        told nothing either, the next would not. While all runs on the device nobody waits behind a probe, and one may
        follow the other: on a link believed to crawl a share of it would be seconds. In doubt the next follows at once:
        only a second sample unlike those before moves the belief; both are there in time (docs/decisions/0008)."""
        habits, link = self.habits, self._bandwidth
        if self._unsure():
            return 0.0 if self._told_since_asked and self.in_doubt else self._health.probe_gap_s
        gap_s = habits.probe_every_s * min(1.0, max(1.0, link.seen) / SETTLED)
        if habits.probe_share and link.last_s is not None and self._chosen_s > max(link.last_s, self._fruitless_s):
            idle = self._size.whole is not None and self._size.current == self._size.whole
            gap_s = min(gap_s, 8 * habits.probe_bytes / link.bps / (1.0 if idle else habits.probe_share))
        return gap_s

    def _worth_knowing(self, now_s: float) -> bool:
        """Could any news of link or server make it worth sending something? On a perfect link to an idle server, at the
        least round trip ever seen: if the device alone still wins, a probe can change nothing."""
        table, whole = self._size.table, self._size.whole
        if whole is None:
            return True
        loads = self._server.at_best(now_s), self._device.at(now_s)
        best = table.latency_s(HIGHEST_BPS, HIGHEST_BPS, self._rtt.least, *loads)
        return float(best.min()) < float(best[whole])

    def _look_back(self, step: Step, told_bps: float | None) -> None:
        """Tell `Hindsight` how the last request went and how the other choices would have."""
        self._aftermath.told(step, told_bps)
        if step.kind == "probe" or self._made is None:
            return
        (size, found), self._made = self._made, None
        if (step.asked or step.cut) == found.choice.cut and not step.exit and not step.exits:  # else somebody decided
            self._aftermath.ended(step, size, found.rows, found.latency, told_bps)

    def _as_seen_s(self, size: Size, up_bps: float | None) -> Seconds:
        return self._latency_s(size, up_bps or self._bandwidth.bps, self._downlink.worth_bps(self._now_s), self._now_s)

    def _learn_link(self, step: Step, now_s: float) -> float | None:
        """Returns the rate that was seen, None where none was."""
        told = step.evidence
        if told.rtt_s is not None:  # a session's first pings may be slow: the way took no longer than both its halves
            both_s = step.seconds.up + step.seconds.down
            self._rtt.observe(min(told.rtt_s, both_s or told.rtt_s), now_s)
        up_bps = told.up_bps if told.up_bps is not None else self._by_its_time_bps(step, now_s)
        if up_bps is not None:
            self._bandwidth.observe(up_bps, now_s)
            self._seen_bps = up_bps
        if told.down_bps is not None:
            self._downlink.observe(told.down_bps, now_s)
        return up_bps if up_bps is not None and LOWEST_BPS <= up_bps <= HIGHEST_BPS else None

    def _by_its_time_bps(self, step: Step, now_s: float) -> float | None:
        """The rate where no dispersion told one, if what the transfer took contradicts what is believed; where the link
        is about as fast, or fast enough for the present choice, the belief is no older than that. What was sent behind
        a probe still on its way tells nothing of the kind."""
        believed_bps, rtt_s = self._bandwidth.bps, self._rtt.least
        least_bps = at_least_bps(step, rtt_s) or 0.0
        if least_bps > SLOW * believed_bps:
            return least_bps
        if least_bps * SLOW > believed_bps or (least_bps and self._right_at(least_bps)):
            self._bandwidth.confirm(now_s)
        if step.t_s < self._asked_s + 8 * self.habits.probe_bytes / believed_bps + rtt_s:
            return None
        return crawled_bps(step, believed_bps, rtt_s)

    def _learn_work(self, step: Step, now_s: float) -> None:
        told, spent = step.evidence, step.seconds
        if step.in_its_place:
            return  # it began with what had been sent: no telling how much of the work that was
        if told.queue_s is not None:
            self._server.waited(told.queue_s, now_s)
        if step.kind == "probe" or step.exits:
            return  # inputs that left early ran only a part of what is priced
        size = self._sizes.at(step.batch)
        row = size.row.get((step.cut, step.codec))
        if row is None:
            return
        if told.server_s is not None and size.server_speaks[row]:
            self._server.worked(told.server_s, float(size.table.server_s[row]), now_s)
        if size.device_speaks[row]:
            measured_s = spent.local if step.ran == "device" else spent.head + spent.encode
            if told.device_s is not None:
                measured_s = told.device_s
            self._device.observe(measured_s, float(size.table.device_s[row]), now_s)

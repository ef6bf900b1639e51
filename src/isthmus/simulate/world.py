"""Two machines and a link that follow traces: when a request that starts now with this choice would end.

One formula for every use: a single request, every choice from one moment (what a clairvoyant looks at), one choice at
many moments, or every choice in a world of its own (`fixed`): starts and rows are arrays that broadcast. At constant
rates and loads it is the price of the cost table to the last digit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from isthmus.adapt.sizes import Size, Sizes
from isthmus.errors import BadInput
from isthmus.link import Trace
from isthmus.plan.cost import CostTable
from isthmus.simulate.load import Away, Load, Others
from isthmus.simulate.noise import Noise

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class World:
    """What is really so. Everybody who plays in it sees the same.

    tables: the true seconds and bytes of every choice, one table a batch size (others are scaled, as `Sizes` says).
    up, down: bit/s over time; without `down` it is the uplink times the ratio in the tables' link. rtt_s: None takes
    the tables'. load, device_load: factors on the machines' work. away: when the server is not there. others: who
    waits before us. deadline_s: the device finishes a request by itself that has no answer by then (None: never).
    noise: standard deviation of the logarithm of every compute time, drawn by the request's number from `seed`, the
    same for every choice. exits: by output, the tables of the part of the network that this exit needs. Raises
    BadInput, also where no request could ever end.
    """

    tables: Mapping[int, CostTable]
    up: Trace
    down: Trace | None = None
    rtt_s: float | None = None
    load: Load = field(default_factory=Load.constant)
    device_load: Load = field(default_factory=Load.constant)
    away: Away = field(default_factory=Away)
    others: Others = field(default_factory=Others)
    deadline_s: float | None = None
    noise: float = 0.0
    seed: int = 0
    exits: Mapping[str, Mapping[int, CostTable]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.deadline_s is not None and not 0 < self.deadline_s < math.inf:
            raise BadInput(f"a deadline must be finite and above zero, not {self.deadline_s}")
        if self.rtt_s is not None and not 0 <= self.rtt_s < math.inf:
            raise BadInput(f"a round trip must be finite and at least zero, not {self.rtt_s}")
        dead = float(self.up.rates_bps.max()) == 0
        whole = self.sizes.least.whole  # tables and noise that make no sense are refused here
        _ = self.draws
        if dead and (self.deadline_s is None or whole is None):
            raise BadInput(
                "the trace's rate is 0 all along: what is sent never arrives; give a deadline, after which the device "
                "finishes, or another trace"
            )

    @cached_property
    def sizes(self) -> Sizes:
        """The tables by batch size, with the rows of each by name."""
        return Sizes(self.tables)

    def sizes_to(self, output: str | None) -> Sizes:
        """The tables of what one exit needs; of the whole network for None. Raises BadInput for an exit without."""
        if output is None:
            return self.sizes
        if output not in self._exits:
            known = ", ".join(self.exits) or "none"
            raise BadInput(f"the policy ends at {output}, which has no price here; the exits with one: {known}")
        return self._exits[output]

    @cached_property
    def _exits(self) -> dict[str, Sizes]:
        return {output: Sizes(tables) for output, tables in self.exits.items()}

    @cached_property
    def draws(self) -> Noise:
        """The noise on compute times."""
        return Noise(self.noise, self.seed)

    @cached_property
    def round_trip_s(self) -> float:
        """Seconds there and back of a packet that waits for nothing."""
        return self.sizes.least.table.link.rtt_s if self.rtt_s is None else self.rtt_s

    @cached_property
    def back(self) -> Trace:
        """The downlink."""
        link = self.sizes.least.table.link
        return self.up.scaled(link.down_bps / link.up_bps) if self.down is None else self.down

    def at_rate(self, up_bps: float) -> World:
        """The same world with an uplink that never changes."""
        down = None if self.down is None else Trace.of([0.0], [self.down.mean_bps])
        return replace(self, up=Trace.of([0.0], [up_bps]), down=down)

    def go(
        self,
        rows: Rows,
        start_s: Floats,
        batch: int = 1,
        *,
        noise: tuple[float, float] = (1.0, 1.0),
        up_free_s: float = 0.0,
        cut_off: NDArray[np.bool_] | bool = False,
        exit_at: str | None = None,
        give_up_s: float | None = None,
        beside: bool = False,
    ) -> Went:
        """How requests with these choices (rows of the batch size's table) go that start then; shapes broadcast.

        noise: factors on the device's and the server's seconds. up_free_s: when the uplink is free of a probe.
        cut_off: the client knows that it cannot send, so the device does all at once. exit_at: the network is run to
        this exit; rows are of its table. give_up_s: so long after it began (or at the deadline, if that is sooner) the
        device begins to compute what has no answer; where the device runs first, the answer is still good until then.
        beside: it begins as soon as its own part is done, where it can.
        """
        size = self.sizes_to(exit_at).at(batch)
        table, start = size.table, np.asarray(start_s, np.float64)
        up_bytes, down_bytes = table.up_bytes[rows], table.down_bytes[rows]
        remote = (up_bytes > 0) | (down_bytes > 0)
        device_s = table.device_s[rows] * noise[0]
        before_s, after_s = (0 * device_s, device_s) if table.first == "server" else (device_s, 0 * device_s)
        headed = self.device_load.finish_s(start, before_s)
        begins = np.where(up_bytes > 0, np.maximum(headed + table.link.fixed_s, up_free_s), headed)
        left = self.up.finish_many(begins, 8 * up_bytes)
        arrived = left + np.where(up_bytes > 0, self.round_trip_s / 2, 0.0)
        work = table.server_s[rows] * noise[1]
        begun = arrived + np.where(remote, self.others.wait_s(arrived), 0.0)
        done = self.load.finish_s(begun, work)
        back = self.back.finish_many(done, 8 * down_bytes) + np.where(down_bytes > 0, self.round_trip_s / 2, 0.0)
        back = np.where(remote & self.away.meets(arrived, done), math.inf, back)
        ended = back
        if table.first == "server":
            never = np.isinf(back)
            ended = np.where(never, back, self.device_load.finish_s(np.where(never, 0.0, back), after_s))
        sent = Sent(start, headed, begins, left, arrived, begun, done, back, ended)
        races = beside and table.first == "device" and size.whole is not None
        due_s = np.nextafter(headed, math.inf) if races else start + self.patience_s(give_up_s)
        return self._finished(size, rows, sent, due_s, remote, noise[0], cut_off)

    def patience_s(self, give_up_s: float | None) -> float:
        """How long after it began a request waits for the server."""
        return min(math.inf if s is None else s for s in (self.deadline_s, give_up_s))

    def _finished(
        self, size: Size, rows: Rows, sent: Sent, due: Floats, remote: NDArray[np.bool_], noise: float, cut_off: object
    ) -> Went:
        """Answers that come too late, or never, are the device's to finish."""
        off = remote & np.asarray(cut_off)
        late = remote & (sent.back_s > due) & ~off
        if not (late.any() or off.any()):
            return Went(sent, sent.ended_s, late, off, np.zeros_like(sent.back_s))
        gave_up = np.where(off, sent.start_s, np.maximum(due, sent.headed_s))
        whole_s = math.inf if size.whole is None else float(size.table.device_s[size.whole])
        rest_s = np.where(off, whole_s, np.maximum(0.0, whole_s - size.heads_s[rows])) * noise
        here, never = late | off, np.isinf(rest_s)
        ended = self.device_load.finish_s(np.where(here, gave_up, 0.0), np.where(never, 0.0, rest_s))
        ended = np.where(never, math.inf, ended)
        if size.table.first == "device":  # the answer to what was sent may overtake the device yet
            late = late & (never | (sent.headed_s >= due) | (sent.ended_s >= ended))
            here = late | off
        rest = np.where(here & ~never, ended - np.where(here, gave_up, 0.0), 0.0)
        return Went(sent, np.where(here, ended, sent.ended_s), late, off, rest)


@dataclass(frozen=True)
class Sent:
    """The moments of a request on its way, seconds on the world's clock; `back_s` is inf where no answer comes.
    `ended_s`: the device has finished what comes after the server's part, where that ran first."""

    start_s: Floats
    headed_s: Floats
    begins_s: Floats
    """the first byte leaves"""
    left_s: Floats
    """the last byte has left"""
    arrived_s: Floats
    begun_s: Floats
    """the server begins: it waited in between"""
    done_s: Floats
    back_s: Floats
    ended_s: Floats


@dataclass(frozen=True)
class Went:
    """How it ended. `ended_s`: when the caller has the answer, inf for never; `late`: it was given up for and the
    device was done first; `off`: nothing could be sent; `rest_s`: what the device computed after either."""

    sent: Sent
    ended_s: Floats
    late: NDArray[np.bool_]
    off: NDArray[np.bool_]
    rest_s: Floats

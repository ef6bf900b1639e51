"""One request on its way, and the line of the journal it becomes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from isthmus.codec import RAW
from isthmus.graph import INPUT, OUTPUT
from isthmus.link.types import Side
from isthmus.record.types import Choice, Evidence, Ran, Seconds, Step
from isthmus.run.replies import Came, Said, rate_of


@dataclass(slots=True)
class Trip:
    """What is known of a request so far; seconds, bytes and bit/s."""

    started_s: float
    asked: Choice
    batch: int
    beliefs: tuple[float | None, float | None] = (None, None)
    cut: str = OUTPUT
    codec: str = RAW
    first: Side = "device"
    head_s: float = 0.0
    encode_s: float = 0.0
    decode_s: float = 0.0
    """Of an answer."""
    local_s: float = 0.0
    """Of what was left to the device behind the cut, or after trouble."""
    up_bytes: int = 0
    down_bytes: int = 0
    ended_s: float = 0.0
    trouble: str = ""
    unsendable: bool = False
    """Whether it could not be sent (NaN that the codec cannot write, more than the server takes): the caller's own, no
    trouble on the way."""
    said: Said | None = None
    """What the server said, when it answered in time."""
    spread: Came | None = None
    """How the answer came in, where it came in pieces."""
    up_bps: float | None = None
    rtt_s: float | None = None
    exit: str | None = None
    exits: tuple[str, ...] = ()
    """Where samples may leave early: at which exit each did; `exit` is the deepest."""

    @property
    def ran(self) -> Ran:
        """Where the answer was computed."""
        if self.said is None:
            return "device"
        return "server" if self.cut == INPUT else "split"

    def seconds(self) -> Seconds:
        """By cause, and the sum is the whole.

        The two machines' clocks are never compared. What the server does with a request it times itself; the way back
        is half the least round trip, never more than half of what is left over, and for a long answer the time from its
        first piece to its last; `up` is the rest of that.
        """
        total = self.ended_s - self.started_s
        mine = self.head_s + self.encode_s
        if self.said is None:
            if not self.trouble and not self.up_bytes:
                return Seconds(total=total, local=total)
            lost = max(0.0, total - mine - self.local_s)
            return Seconds(total=total, head=self.head_s, encode=self.encode_s, lost=lost, local=self.local_s)
        theirs = self.said.queue_s + self.said.decode_s + self.said.compute_s
        if self.first == "server":
            return self._turned(total, mine, theirs)
        left = max(0.0, total - mine - theirs)
        down = self._down(left)
        return Seconds(
            total=total,
            head=self.head_s,
            encode=self.encode_s,
            up=left - down,
            queue=self.said.queue_s,
            decode=self.said.decode_s,
            tail=self.said.compute_s,
            down=down,
        )

    def _down(self, left_s: float) -> float:
        came_s = self.spread.seconds if self.spread is not None else 0.0
        return min(left_s, min(left_s, self.rtt_s or 0.0) / 2 + came_s)

    def _turned(self, total: float, mine: float, theirs: float) -> Seconds:
        """The same where the server ran first. It writes too: what it had the request for beyond its other times."""
        assert self.said is not None
        wrote = max(0.0, self.said.residence_s - theirs)
        left = max(0.0, total - mine - theirs - wrote - self.decode_s - self.local_s)
        down = self._down(left)
        return Seconds(
            total=total,
            head=self.head_s + self.said.compute_s,
            encode=self.encode_s + wrote,
            up=left - down,
            queue=self.said.queue_s,
            decode=self.said.decode_s + self.decode_s,
            tail=self.local_s,
            down=down,
        )

    def step(self, request_id: int, zero_s: float, true_bps: float | None) -> Step:
        """The journal's line."""
        return Step(
            id=request_id,
            t_s=self.started_s - zero_s,
            ran=self.ran,
            cut=self.cut if self.said is not None else OUTPUT,
            codec=self.codec if self.said is not None else RAW,
            first=self.first,
            batch=self.batch,
            exit=self.exit,
            exits=dict(Counter(self.exits)),
            seconds=self.seconds(),
            up_bytes=self.up_bytes,
            down_bytes=self.down_bytes,
            evidence=self._evidence(),
            asked=self.asked.cut if self.trouble or self.exits or (self.said is None and self.up_bytes) else "",
            trouble=self.trouble,
            predicted_s=self.asked.predicted_s,
            estimate_bps=self.beliefs[0],
            estimate_load=self.beliefs[1],
            true_bps=true_bps,
        )

    def lost(self, request_id: int, zero_s: float, true_bps: float | None) -> Step:
        """The line of a request that nobody answered."""
        asked = self.asked
        ran: Ran = "server" if asked.cut == INPUT else "split"
        wanted = {"ran": ran, "cut": asked.cut, "codec": asked.codec, "first": asked.first, "exit": asked.exit}
        step = self.step(request_id, zero_s, true_bps)
        return step.model_copy(update={"kind": "lost", "asked": "", **wanted})

    def _evidence(self) -> Evidence:
        told = evidence(self.said, self.up_bps, self.rtt_s, self.spread)
        if self.first == "device":
            return told
        return told.model_copy(update={"device_s": self.encode_s + self.decode_s + self.local_s})


def evidence(said: Said | None, up_bps: float | None, rtt_s: float | None, spread: Came | None = None) -> Evidence:
    """What an answer (or only an arrival) told about link and server. `spread`: how the answer came in."""
    if said is None:
        return Evidence(up_bps=up_bps, rtt_s=rtt_s) if up_bps is not None else Evidence()
    down_bps = None if spread is None else rate_of(spread)
    return Evidence(up_bps=up_bps, rtt_s=rtt_s, server_s=said.compute_s, queue_s=said.queue_s, down_bps=down_bps)

"""One request as it went (`Step`), and the two values the client and whoever decides for it exchange.

Real and simulated runs write the same lines. `run` and `adapt` both know these types and not each other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, Protocol, cast

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt

from isthmus.errors import BadInput
from isthmus.link.types import Side

Ran = Literal["device", "split", "server"]


class Choice(BaseModel):
    """Where the next request should run: a cut id (`@output` = all on the device, `@input` = all on the server), which
    side runs the part before it (at those two ends one side runs everything, whatever `first` says), and at which
    early exit it should stop (the name of that output; None: the whole model)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cut: str
    codec: str = "float32"
    first: Side = "device"
    exit: str | None = None
    predicted_s: float | None = None
    give_up_s: float | None = None
    """so long after it began, the device begins to compute the rest of a request without an answer (or at the deadline,
    if that is sooner); None: only at the deadline"""
    beside: bool = False
    """the device computes its own answer too, from when the request is sent: whoever is first counts, and the server is
    not late before `give_up_s`"""
    why: str = ""


class Seconds(BaseModel):
    """Where the time of one request went; `total` is what the caller waited, the rest by cause: `head` and `tail` are
    the compute before and after the cut, on whichever side that was (`Step.first`); `encode` and `decode` the writing
    and reading of what crossed, both ways."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    total: float
    head: float = 0.0
    encode: float = 0.0
    up: float = 0.0
    queue: float = 0.0
    decode: float = 0.0
    tail: float = 0.0
    down: float = 0.0
    lost: float = 0.0
    """waiting for an answer that never came in time, before the device finished by itself"""
    local: float = 0.0
    """compute on the device after the cut: the whole model when nothing was sent, the rest after a fallback"""


class Evidence(BaseModel):
    """What this exchange told about the link and the server. None where it told nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    up_bps: float | None = None
    """receiver dispersion: bytes that came after the first chunk was here, over the time from then to the last"""
    rtt_s: float | None = None
    server_s: float | None = None
    """compute seconds the server itself reports"""
    queue_s: float | None = None
    down_bps: float | None = None
    """the same dispersion for an answer, where it was long enough to show one"""
    device_s: float | None = None
    """compute and coding on the device, where the causes alone do not tell: the server ran first"""


class Step(BaseModel):
    """One line of the journal. Times are seconds on the journal's clock, which starts at 0."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["request", "probe", "lost"] = "request"
    """lost: a request that nobody answered; `ran`, `cut`, `codec`, `first` and `exit` are then what was asked for, the
    seconds those until it was given up, and `trouble` says why"""
    late: bool | None = None
    """of a probe's line: nobody sent one, an answer that had been given up told of the link"""
    id: int
    t_s: float
    ran: Ran
    cut: str
    codec: str
    first: Side = "device"
    """the side that ran the part before the cut"""
    batch: int = Field(default=1, ge=1)
    exit: str | None = None
    """the exit that answered, the deepest of a batch; None: the whole model did"""
    exits: dict[str, PositiveInt] = Field(default_factory=dict)
    """where samples may leave early: how many of the batch left at which exit"""
    seconds: Seconds
    up_bytes: NonNegativeInt = 0
    down_bytes: NonNegativeInt = 0
    evidence: Evidence = Evidence()
    asked: str = ""
    """the cut that was asked for, when another ran: a fallback, or the device was first"""
    trouble: str = ""
    """why it fell back: one sentence, empty when nothing went wrong"""
    predicted_s: float | None = None
    estimate_bps: float | None = None
    """the chooser's belief when it decided"""
    estimate_load: float | None = None
    true_bps: float | None = None
    """the shaped link's real rate, where the run knows it"""
    wrong: bool | None = None
    """None: not verified"""
    error: float | None = None
    """greatest absolute difference from the whole model's answer, where verified"""

    @property
    def probed(self) -> bool:
        """Was a probe sent, and is this what it told?"""
        return self.kind == "probe" and not self.late

    @property
    def in_its_place(self) -> bool:
        """Whether the device answered what had been sent to the server: that was late, or second."""
        return self.ran == "device" and self.up_bytes > 0


class StepWriter(Protocol):
    """A journal (`isthmus.record.Journal` is one)."""

    def write(self, step: Step) -> None: ...


_OF_A_CHOOSER = ("choose", "observe", "probe_bytes", "beliefs")


class Chooser(Protocol):
    """Whoever decides for the client. Never blocks; called from the client's threads one at a time."""

    def choose(self, now_s: float, batch: int = 1) -> Choice:
        """Where the request of `batch` samples that starts now should run."""

    def observe(self, step: Step) -> None:
        """One request or probe as it went; but for requests that could not be sent (NaN that the codec cannot write as
        int8, more samples or bytes than the server takes), and for those that nobody answered, which only a simulation
        tells (`kind`: lost)."""

    def probe_bytes(self, now_s: float) -> int:
        """How many bytes a probe sent now should carry; 0 when none is wanted."""

    @property
    def beliefs(self) -> tuple[float | None, float | None]:
        """(uplink bit/s, server load factor) as believed now, for the journal."""


def check_chooser(made: object, who: str = "this") -> None:
    """Raises BadInput for what is no `Chooser`."""
    if lacking := [what for what in _OF_A_CHOOSER if not _has(made, what)]:
        raise BadInput(f"{who} is a {type(made).__name__}, which is no chooser: it has no {', '.join(lacking)}")


def _has(made: object, what: str) -> bool:
    try:
        return hasattr(made, what)
    except Exception:  # noqa: BLE001 - a property of somebody else's: it is there, and fails
        return True


def beliefs_of(made: object, whose: str = "the chooser") -> tuple[float | None, float | None]:
    """What a chooser's `beliefs` are. Raises BadInput where they are no pair of numbers or None."""
    try:
        up_bps, load = cast(Iterable[Any], made)
        return _number(up_bps), _number(load)
    except (TypeError, ValueError):
        raise BadInput(
            f"beliefs of {whose} are {made!r}; they must be a pair of uplink in bit/s and server load, numbers or None"
        ) from None


def probe_size_of(made: Any, whose: str = "the chooser") -> int:
    """What a chooser's `probe_bytes` answered. Raises BadInput for no finite number."""
    try:
        return int(float(made))
    except (TypeError, ValueError, OverflowError):
        raise BadInput(
            f"probe_bytes of {whose} answered with {made!r}; it must answer with a number of bytes"
        ) from None


def _number(said: Any) -> float | None:
    return None if said is None else float(said)

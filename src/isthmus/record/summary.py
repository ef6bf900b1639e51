"""A journal in a few numbers: what `--json` prints and the head of the report shows."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from isthmus.errors import BadInput
from isthmus.link.types import Side
from isthmus.record.types import Ran, Seconds, Step

CAUSES = tuple(name for name in Seconds.model_fields if name != "total")
"""The causes of latency, in the order in which a request goes through them."""
MAX_TROUBLES = 50
"""Different troubles kept by name: a message with a number in it must not make the summary as long as the journal."""


class Place(BaseModel):
    """The requests that ran at one place and were written one way. Bytes are sums over these requests."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ran: Ran
    cut: str
    codec: str
    requests: int
    share: float
    p50_s: float
    p99_s: float
    up_bytes: int
    down_bytes: int
    first: Side = "device"
    """the side that ran the part before the cut"""


class ExitUse(BaseModel):
    """The samples that left at one exit. Seconds are those of the requests they came in, from call to answer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    exit: str
    samples: int
    share: float
    """of all samples that some exit answered"""
    p50_s: float
    p99_s: float


class Summary(BaseModel):
    """What a run comes down to. Times are seconds as the caller waited, quantiles linear between neighbours; None
    where nothing was recorded. Errors of estimates are medians of |said - true| / true."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests: int
    answered: int
    """different request ids that came back"""
    lost: int
    verified: int
    wrong: int
    cuts_used: tuple[str, ...]
    """in the order of their first use"""
    ran: dict[Ran, int]
    p50_s: float | None
    p90_s: float | None
    p99_s: float | None
    mean_s: float | None
    max_s: float | None
    span_s: float
    """from the first start to the last answer"""
    mean_seconds: Seconds | None
    """means by cause over all requests"""
    switches: int
    """times the place that was asked for changed from one request to the next; a fallback is none"""
    fallbacks: int
    troubles: dict[str, int]
    up_bytes: int
    down_bytes: int
    probes: int
    probe_bytes: int
    prediction_error: float | None
    """over every request with a prediction, fallbacks included"""
    estimate_error: float | None
    greatest_error: float | None
    """greatest absolute difference from the whole model's answers, where verified"""
    places: tuple[Place, ...]
    """most used first"""
    exits: tuple[ExitUse, ...] = ()
    """most used first; empty where the whole model answered"""


def summarise(
    steps: Iterable[Step], *, requests: int | None = None, link_trace: Sequence[tuple[float, float]] = ()
) -> Summary:
    """Boils the steps of one run down.

    Args:
        steps: requests and probes, in any order.
        requests: how many one session sent; an answer told of twice is then one. Without it those that came back and
            those told of as lost are taken for all, whatever sessions wrote them.
        link_trace: (t_s, bit/s) from the header, used where a step does not know the true rate itself.

    Raises:
        BadInput: more requests came back than were sent.
    """
    ordered = in_order(steps)
    asked = [s for s in ordered if s.kind == "request"]
    probes = [s for s in ordered if s.probed]
    lost = [s for s in ordered if s.kind == "lost"]
    answered = len(asked) if requests is None else len({s.id for s in asked})
    sent = answered + len(lost) if requests is None else requests
    if answered > sent:
        raise BadInput(f"{answered} requests came back but only {sent} were sent: count the requests again")
    total_s = np.array([s.seconds.total for s in asked], dtype=np.float64)
    ran = Counter(s.ran for s in asked)
    return Summary(
        requests=sent,
        answered=answered,
        lost=sent - answered,
        verified=sum(s.wrong is not None for s in asked),
        wrong=sum(s.wrong is True for s in asked),
        cuts_used=tuple(dict.fromkeys(s.cut for s in asked)),
        ran={"device": ran["device"], "split": ran["split"], "server": ran["server"]},
        p50_s=quantile(total_s, 0.5),
        p90_s=quantile(total_s, 0.9),
        p99_s=quantile(total_s, 0.99),
        mean_s=float(total_s.mean()) if asked else None,
        max_s=quantile(total_s, 1.0),
        span_s=max(s.t_s + s.seconds.total for s in asked) - asked[0].t_s if asked else 0.0,
        mean_seconds=_means(asked),
        switches=sum((a.asked or a.cut) != (b.asked or b.cut) for a, b in pairwise(asked)),
        fallbacks=sum(fell_back(s) for s in asked),
        troubles=dict(Counter(s.trouble for s in (*asked, *lost) if s.trouble).most_common(MAX_TROUBLES)),
        up_bytes=sum(s.up_bytes for s in asked),
        down_bytes=sum(s.down_bytes for s in asked),
        probes=len(probes),
        probe_bytes=sum(s.up_bytes for s in probes),
        prediction_error=_median_error((s.predicted_s, s.seconds.total) for s in asked),
        estimate_error=_median_error((s.estimate_bps, true_rate_bps(s, link_trace)) for s in asked),
        greatest_error=max((s.error for s in asked if s.error is not None), default=None),
        places=_places(asked),
        exits=_exits(asked),
    )


def in_order(steps: Iterable[Step]) -> list[Step]:
    """The steps by the time they started; threads write them as they end."""
    return sorted(steps, key=lambda s: (s.t_s, s.id))


def fell_back(step: Step) -> bool:
    """Did the request run elsewhere than asked, or go wrong on the way? To leave early on the device is neither, nor is
    an answer of the device that was first where both were asked."""
    return bool(step.trouble) or (not step.exits and not step.in_its_place and step.asked not in ("", step.cut))


def true_rate_bps(step: Step, link_trace: Sequence[tuple[float, float]]) -> float | None:
    """The link's real rate when the step started: its own word, else the trace's, else None."""
    if step.true_bps is not None:
        return step.true_bps
    at = bisect_right(link_trace, step.t_s, key=lambda point: point[0])
    return link_trace[at - 1][1] if at else None


def quantile(values: NDArray[np.float64], q: float) -> float | None:
    """The quantile, None of nothing."""
    return float(np.quantile(values, q)) if values.size else None


def _median_error(pairs: Iterable[tuple[float | None, float | None]]) -> float | None:
    errors = [abs(said - true) / true for said, true in pairs if said is not None and true]
    errors = [e for e in errors if math.isfinite(e)]
    return float(np.median(errors)) if errors else None


def _means(steps: Sequence[Step]) -> Seconds | None:
    if not steps:
        return None
    return Seconds(**{n: float(np.mean([getattr(s.seconds, n) for s in steps])) for n in ("total", *CAUSES)})


def _places(steps: Sequence[Step]) -> tuple[Place, ...]:
    groups: dict[tuple[Ran, str, str, Side], list[Step]] = {}
    for step in steps:
        groups.setdefault((step.ran, step.cut, step.codec, step.first), []).append(step)
    rows = []
    for (ran, cut, codec, first), group in sorted(groups.items(), key=lambda item: -len(item[1])):
        p50_s, p99_s = np.quantile([s.seconds.total for s in group], (0.5, 0.99)).tolist()
        up_bytes, down_bytes = sum(s.up_bytes for s in group), sum(s.down_bytes for s in group)
        rows.append(
            Place(
                ran=ran, cut=cut, codec=codec, requests=len(group), share=len(group) / len(steps),
                p50_s=p50_s, p99_s=p99_s, up_bytes=up_bytes, down_bytes=down_bytes, first=first,
            )
        )  # fmt: skip
    return tuple(rows)


def _exits(steps: Sequence[Step]) -> tuple[ExitUse, ...]:
    """Who left where: sample by sample, or the batch as one where it was sent to one exit."""
    took: dict[str, list[float]] = {}
    samples: Counter[str] = Counter()
    for step in steps:
        for name, count in (step.exits or ({} if step.exit is None else {step.exit: step.batch})).items():
            took.setdefault(name, []).append(step.seconds.total)
            samples[name] += count
    rows = []
    for name, count in samples.most_common():
        p50_s, p99_s = np.quantile(took[name], (0.5, 0.99)).tolist()
        rows.append(ExitUse(exit=name, samples=count, share=count / samples.total(), p50_s=p50_s, p99_s=p99_s))
    return tuple(rows)

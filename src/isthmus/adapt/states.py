"""Bandwidth states: the levels a link was seen to keep.

Edgent (Li et al., IEEE TWC 2020, §III-D) takes as a state the mean client-side throughput over a segment of a
connection, the definition of Oboe (Akhtar et al., SIGCOMM 2018, §3). Segments lie between the change points of the
historical traces, found by the same detector that follows the link at run time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from isthmus.adapt.bandwidth import HIGHEST_BPS, LOWEST_BPS
from isthmus.adapt.change_points import ChangePoints, Prior
from isthmus.errors import BadInput
from isthmus.link import Trace

_MOST_SAMPLES = 200_000
"""Of all traces together: about ten seconds of work."""


def bandwidth_states(
    traces: Sequence[Trace], *, every_s: float = 1.0, apart: float = 0.1, prior: Prior | None = None
) -> tuple[float, ...]:
    """The states of these traces, bit/s, rising.

    Each trace is sampled `every_s` seconds (mean rate over that time), cut into segments, and the means of those taken.
    Means closer than `apart` (0.1: 10 %) to the least of their group are one state, the group's mean weighed by time.
    Outages are no state: nothing is sent then. Raises BadInput for no trace, or none that ever carried anything.

    >>> calm = Trace.of([0, 30, 60], [8e6, 1e6, 8.2e6], duration_s=90)
    >>> [round(bps / 1e6, 1) for bps in bandwidth_states([calm])]
    [1.0, 8.1]
    """
    if not every_s > 0 or not apart >= 0 or not traces:
        raise BadInput(f"states need traces, every_s above zero and apart of at least 0, not {every_s} and {apart}")
    asked = sum(trace.duration_s / every_s for trace in traces)
    if asked > _MOST_SAMPLES:
        raise BadInput(
            f"{asked:.0f} samples are too many to find states in; take fewer traces, or a sample every "
            f"{every_s * math.ceil(asked / _MOST_SAMPLES):g} s"
        )
    means = sorted(mean for trace in traces for mean in segments(trace, every_s=every_s, prior=prior))
    if not means:
        raise BadInput("the traces carry nothing at any time: there is no bandwidth state")
    return tuple(_grouped(means, apart))


def segments(trace: Trace, *, every_s: float = 1.0, prior: Prior | None = None) -> tuple[tuple[float, float], ...]:
    """(mean rate in bit/s, seconds) of every segment of a trace between two change points, in order, without outages.

    Raises BadInput as `bandwidth_states` does for `every_s`."""
    if not every_s > 0:
        raise BadInput(f"a trace is sampled every so many seconds, not every {every_s}")
    rates = list(_samples(trace, every_s))
    found = ChangePoints(prior)
    begins = [0]
    for count, rate in enumerate(rates, 1):
        if found.update(math.log(rate)):
            begin = count - found.age
            while begins[-1] > begin:  # the detector took a change back
                begins.pop()
            if begins[-1] < begin:
                begins.append(begin)
    return tuple(_mean(rates[i:j], every_s) for i, j in pairwise([*begins, len(rates)]) if j > i)


def belief_spread(
    traces: Sequence[Trace], *, every_s: float = 1.0, count: int = 10, prior: Prior | None = None
) -> tuple[float, ...]:
    """What the rate turned out to be in these traces, as multiples of what the detector believed the moment before:
    the middles of `count` equally likely parts, rising. 0.5 is half as fast as believed; steps that were not noticed
    yet are in it, outages are not.

    Raises BadInput for no trace, none with two samples, or a count below 1.

    >>> steady = Trace.of(list(range(60)), [8e6, 7e6] * 30, duration_s=60)
    >>> [round(f, 2) for f in belief_spread([steady], count=2)]
    [0.93, 1.07]
    """
    if not every_s > 0 or count < 1 or not traces:
        raise BadInput(f"a spread needs traces, every_s above zero and a count from 1, not {every_s} and {count}")
    found: list[float] = []
    for trace in traces:
        detector = ChangePoints(prior)
        for number, rate in enumerate(_samples(trace, every_s)):
            x = math.log(rate)
            if number:
                found.append(x - detector.mean)
            detector.update(x)
    if not found:
        raise BadInput("the traces hold no two samples one after the other: nobody knows how their rates spread")
    middles = np.quantile(found, (np.arange(count) + 0.5) / count)
    return tuple(np.exp(middles).tolist())


def _samples(trace: Trace, every_s: float) -> Iterator[float]:
    """Mean rate of each step of the trace's duration; outages are left out, and so is what is no rate at all."""
    for k in range(max(1, int(trace.duration_s / every_s))):
        start = k * every_s
        end = min(trace.duration_s, start + every_s)
        rate = trace.bits_between(start, end) / (end - start)
        if rate >= LOWEST_BPS:
            yield min(rate, HIGHEST_BPS)


def _mean(rates: Sequence[float], every_s: float) -> tuple[float, float]:
    return sum(rates) / len(rates), len(rates) * every_s


def _grouped(means: Sequence[tuple[float, float]], apart: float) -> Iterator[float]:
    """Neighbours closer than `apart` to the first of their group, as one, weighed by how long they lasted."""
    group: list[tuple[float, float]] = []
    for bps, seconds in means:
        if group and bps > group[0][0] * (1 + apart):
            yield _weighed(group)
            group = []
        group.append((bps, seconds))
    yield _weighed(group)


def _weighed(group: Sequence[tuple[float, float]]) -> float:
    return sum(bps * s for bps, s in group) / sum(s for _, s in group)

"""How well the requests of a network with exits were served: in time, how accurately, and worth what."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from isthmus.errors import BadInput
from isthmus.plan.rewards import reward
from isthmus.plan.types import Exit
from isthmus.record import Step

CDF_SHARES = tuple(k / 20 for k in range(21))


class Served(BaseModel):
    """Over all requests, those without an answer counted as late and worth nothing.

    `throughput_per_s`: requests answered a second of the time spent on them. `reward`: mean of e^accuracy + inferences
    a second where in time, else 0 (`isthmus.plan.rewards`); `reward_cdf`: what so great a share of the requests (0,
    0.05, … 1) did not exceed. `accuracy_first`: mean of the other reward. `met`: share in time. `accuracy`: expected
    share of right answers, one to every sample, None where nobody answered. `state_changes`: of the bandwidth, where a
    policy follows states.
    """

    model_config = ConfigDict(frozen=True)

    throughput_per_s: float
    reward: float
    reward_cdf: tuple[float, ...]
    accuracy_first: float
    met: float
    accuracy: float | None
    state_changes: int | None = None


def served(
    steps: Sequence[Step],
    exits: Sequence[Exit],
    within_s: float | None,
    *,
    asked: int | None = None,
    state_changes: int | None = None,
) -> Served:
    """What these steps were worth. exits: with accuracies, the main output last; steps without an exit ran the whole.
    asked: requests in all, where some have no step. Raises BadInput without any request, or without accuracies.

    >>> from isthmus.record import Seconds
    >>> one = Step(id=0, t_s=0, ran="device", cut="@output", codec="float32", exit="a", seconds=Seconds(total=0.1))
    >>> found = served([one], [Exit("a", 0.5), Exit("b", 0.9)], 0.2)
    >>> round(found.reward, 3), found.met, found.accuracy
    (11.649, 1.0, 0.5)
    """
    requests = [s for s in steps if s.kind == "request"]
    count = len(requests) if asked is None else asked
    if not count or not exits:
        raise BadInput("what requests are worth needs at least one request and at least one exit")
    known = {e.output: e.accuracy for e in exits if e.accuracy is not None}
    whole = exits[-1].output
    try:
        accuracy = [known[s.exit or whole] for s in requests]
    except KeyError as error:
        raise BadInput(f"nobody knows how accurate exit {error.args[0]} is: give the exits' table (--exits)") from error
    latency, batches = [s.seconds.total for s in requests], [s.batch for s in requests]
    each = list(zip(accuracy, latency, batches, strict=True))
    worth = np.zeros(count)
    worth[: len(each)] = [reward("edgent", a, t, within_s, batch) for a, t, batch in each]
    careful = sum(float(reward("accuracy_first", a, t, within_s, batch)) for a, t, batch in each)
    return Served(
        throughput_per_s=len(each) / sum(latency) if latency else 0.0,
        reward=float(worth.mean()),
        reward_cdf=tuple(np.quantile(worth, CDF_SHARES).tolist()),
        accuracy_first=careful / count,
        met=float((worth > 0).mean()),
        accuracy=float(np.average(accuracy, weights=batches)) if accuracy else None,
        state_changes=state_changes,
    )

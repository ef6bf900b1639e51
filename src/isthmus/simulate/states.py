"""The paper's own way of comparing: a sequence of states S_i = (batch, rate), each a rate that holds for one request
(Bakhtiarnia et al., "Dynamic Split Computing", 2023). Nothing has to be learnt and nothing changes on the way, so a
policy is a choice a state, and all states are priced at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from isthmus.adapt.sizes import Sizes
from isthmus.errors import BadInput
from isthmus.plan.cost import CostTable
from isthmus.simulate.fixed import Name
from isthmus.simulate.policies import fixed_name

Floats = NDArray[np.float64]

PAPER_RATES_BPS = tuple(8e6 * 2.0**k for k in range(8))
"""1…128 MB/s in powers of two"""
PAPER_BATCHES = tuple(2**k for k in range(7))
"""1…64 in powers of two"""


@dataclass(frozen=True)
class States:
    """batches[i] samples over a link of rates_bps[i]; a rate is finite and above zero, a batch at least 1."""

    batches: tuple[int, ...]
    rates_bps: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.batches) != len(self.rates_bps) or not self.batches:
            raise BadInput(
                f"states need as many batches as rates and at least one, not {len(self.batches)} and "
                f"{len(self.rates_bps)}"
            )
        if min(self.batches) < 1:
            raise BadInput(f"a state's batch is at least 1, not {min(self.batches)}")
        bad = [r for r in self.rates_bps if not 0 < r < math.inf]
        if bad:
            raise BadInput(f"a state's rate must be finite and above zero, not {bad[0]:g} bit/s; leave outages out")

    @classmethod
    def grid(cls, rates_bps: Sequence[float] = PAPER_RATES_BPS, batches: Sequence[int] = PAPER_BATCHES) -> Self:
        """Every batch with every rate, the rates of the first batch first.

        >>> len(States.grid().rates_bps), States.grid().rates_bps[:2]
        (56, (8000000.0, 16000000.0))
        """
        return cls(tuple(b for b in batches for _ in rates_bps), tuple(r for _ in batches for r in rates_bps))


@dataclass(frozen=True, eq=False)
class Evaluated:
    """Seconds of every choice in every state, shape (states, names)."""

    states: States
    names: tuple[Name, ...]
    seconds: Floats

    @cached_property
    def dynamic(self) -> NDArray[np.intp]:
        """The best choice of every state, as an index into `names`."""
        found: NDArray[np.intp] = self.seconds.argmin(axis=1)
        return found

    @cached_property
    def static(self) -> int:
        """The one choice with the least sum over all states."""
        return int(self.seconds.sum(axis=0).argmin())

    def seconds_of(self, policy: str) -> Floats:
        """Seconds of a policy in every state: `dynamic` (and `table` and `clairvoyant`, which are the same where a rate
        holds), `static`, `device`, `server[/CODEC]`, `cut:ID[/CODEC]`. Raises BadInput for any other."""
        if policy in ("dynamic", "table", "clairvoyant"):
            best: Floats = self.seconds.min(axis=1)
            return best
        at = self.static if policy == "static" else self.names.index(fixed_name(policy, self.names))
        column: Floats = self.seconds[:, at]
        return column

    def wins(self) -> dict[Name, int]:
        """In how many states each choice is the best; choices that never are do not appear."""
        counts = np.bincount(self.dynamic, minlength=len(self.names))
        return {self.names[at]: int(counts[at]) for at in np.flatnonzero(counts)}


def evaluate(
    tables: Mapping[int, CostTable],
    states: States,
    *,
    rtt_s: float | None = None,
    down_share: float | None = None,
    load: float = 1.0,
    device_load: float = 1.0,
) -> Evaluated:
    """Price every choice that all batch sizes have in common, in every state, by the tables' own `latency_s`.

    rtt_s and down_share (the downlink as a multiple of the uplink) are the tables' own where None. Raises BadInput when
    the batch sizes have no choice in common.
    """
    sizes = Sizes(tables)
    wanted = sorted(set(states.batches))
    names = tuple(n for n in sizes.at(wanted[0]).row if all(n in sizes.at(b).row for b in wanted[1:]))
    if not names:
        raise BadInput(f"the batch sizes {wanted} have no choice in common")
    batches, rates = np.array(states.batches), np.array(states.rates_bps)
    seconds = np.empty((rates.size, len(names)))
    for batch in wanted:
        size, here = sizes.at(batch), np.flatnonzero(batches == batch)
        link, columns = size.table.link, [size.row[n] for n in names]
        share = link.down_bps / link.up_bps if down_share is None else down_share
        rtt = link.rtt_s if rtt_s is None else rtt_s
        distinct, which = np.unique(rates[here], return_inverse=True)
        priced = [size.table.latency_s(r, r * share, rtt, load, device_load)[columns] for r in distinct.tolist()]
        seconds[here] = np.array(priced)[which]
    return Evaluated(states, names, seconds)

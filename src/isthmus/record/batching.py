"""When a batch leaves: the one rule that the live batcher and the simulator follow."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from isthmus.errors import BadInput
from isthmus.units import MOST_BATCH, is_whole

LONGEST_DELAY_S = 3600.0


@dataclass(frozen=True)
class Batching:
    """A batch leaves when `max_batch` samples wait, or when the oldest has waited `max_delay_s`; never before whoever
    runs the batches is free. Requests keep their order and are not split. A delay of 0 takes whatever is there.

    >>> rule = Batching(max_batch=4, max_delay_s=0.010)
    >>> rule.next_batch([0.000, 0.002, 0.003], [1, 1, 1], free_s=0.0)  # the first has waited long enough
    (0.01, 3)
    >>> rule.next_batch([0.000, 0.002, 0.003], [1, 2, 1], free_s=0.0)  # the third makes it full
    (0.003, 3)
    >>> rule.next_batch([0.000, 0.002, 0.003], [1, 2, 2], free_s=0.0)  # the third has no room
    (0.003, 2)
    >>> rule.next_batch([0.000, 0.002, 0.030], [1, 1, 1], free_s=0.025)
    (0.025, 2)
    """

    max_batch: int = 8
    max_delay_s: float = 0.01

    def __post_init__(self) -> None:
        if not is_whole(self.max_batch, 1, MOST_BATCH):
            raise BadInput(f"a batch holds 1 to {MOST_BATCH} samples, not {self.max_batch!r}")
        if not 0 <= self.max_delay_s <= LONGEST_DELAY_S:
            raise BadInput(f"a batch waits between 0 and {LONGEST_DELAY_S:g} s for others, not {self.max_delay_s} s")

    def next_batch(self, arrivals_s: Sequence[float], samples: Sequence[int], free_s: float) -> tuple[float, int]:
        """(when the next batch starts, how many of the first requests it takes).

        arrivals_s: requests that wait, and, where the future is known, that will come; rising, at least one. samples:
        how many each holds. free_s: when the batch before is done. Raises BadInput for a request of more than
        `max_batch` samples, or of none, at the front.
        """
        if not samples or not 1 <= samples[0] <= self.max_batch:
            first = samples[0] if samples else 0
            raise BadInput(f"a request holds 1 to {self.max_batch} samples here, not {first}; raise the greatest batch")
        count, full_s = self._filled(arrivals_s, samples)
        start_s = max(free_s, min(full_s, arrivals_s[0] + self.max_delay_s))
        return start_s, min(count, bisect_right(arrivals_s, start_s))

    def _filled(self, arrivals_s: Sequence[float], samples: Sequence[int]) -> tuple[int, float]:
        """(how many of the first requests fit into one batch, when it is known that no more do)."""
        total = 0
        for at, size in enumerate(samples):
            total += size
            if total > self.max_batch:
                return at, arrivals_s[at]
            if total == self.max_batch:
                return at + 1, arrivals_s[at]
        return len(samples), float("inf")

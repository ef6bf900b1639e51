"""How often the server's answer is late, and what that costs on top of the expected time."""

from __future__ import annotations

FIRST = 1 / 60
"""Believed at first: as often as the link is believed to change between two samples (`Prior.hazard`)."""
WORTH = 30.0
"""Requests that this belief counts for. Simulated with a request every 0.73 s over 150 parts of five sets of traces, 15
or 30 are the same within 0.05 %; without any, twice as many parts are more than 1 % above the best static plan."""
MEMORY = 100.0


class Lateness:
    """The share of the requests sent of which the device had to do the rest, for the answer came too late or never.

    A choice that sends something is worth its expected time and this share of what being late costs: two choices may be
    as fast as a rule, and the one that needs nobody is then better.

    >>> late = Lateness()
    >>> for _ in range(30):
    ...     late.sent(late=False)
    >>> round(late.share, 4)
    0.0077
    >>> late.sent(late=True)
    >>> round(late.share, 3)
    0.028
    """

    def __init__(self) -> None:
        self._sent, self._late = WORTH, FIRST * WORTH

    def sent(self, *, late: bool) -> None:
        """One more request went to the server; old ones fade."""
        fade = 1 - 1 / MEMORY
        self._sent, self._late = fade * self._sent + 1, fade * self._late + late

    @property
    def share(self) -> float:
        """0…1"""
        return self._late / self._sent

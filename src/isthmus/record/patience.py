"""How often a client looks after its server, and how long it leaves it alone after trouble: the live client and the
simulated one by the same numbers."""

from __future__ import annotations

TICK_S = 0.1
"""How often a client looks whether a probe is wanted, and pings a server that has failed it."""
COMPUTING_S = 0.3
"""While all is computed on the device, nobody looks whether a probe is wanted more often than this: a probe takes the
device's core. At the end of a request it takes nothing from anybody, so only requests without a pause are looked
into."""
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 1.0
"""Below the two seconds within which a client must be back after the server's return."""
_MOST_DOUBLINGS = 64
"""More is beyond every longest pause, and soon beyond every float."""


def pause_s(strikes: int, first_s: float, longest_s: float) -> float:
    """How long to stay away after so many strikes in a row (from 1): `first_s`, doubled with each one more, and never
    more than `longest_s`.

    >>> [pause_s(strikes, 0.1, 1.0) for strikes in (1, 2, 3, 4, 5, 2000)]
    [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    """
    return min(longest_s, first_s * 2.0 ** min(strikes - 1, _MOST_DOUBLINGS))

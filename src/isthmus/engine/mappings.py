"""How many pieces of weight files this process has mapped: a resource that all its engines share."""

from __future__ import annotations

import itertools
import weakref

MOST = 50_000
"""Linux allows a process 65,530 mappings; code, heap and whoever we run beside need some."""
_held: dict[int, int] = {}
_serial = itertools.count()


def hold(owner: object, count: int) -> None:
    """Count mappings that last as long as `owner` does."""
    serial = next(_serial)
    _held[serial] = count
    # one step of the dictionary each, without a lock: whoever lets go may be collected in the middle of anything
    weakref.finalize(owner, _held.pop, serial, None).atexit = False


def room() -> int:
    """How many more there may be; below 0 where somebody took them regardless."""
    return MOST - sum(_held.copy().values())

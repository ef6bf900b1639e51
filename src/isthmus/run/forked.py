"""Whether this is still the process that made a session, a batcher or a server. What `os.fork` makes has its parent's
sockets and locks, and none of its threads: answers would go to whoever reads first, and locks stay held for ever."""

from __future__ import annotations

import os

from isthmus.errors import BadInput

forks = 0
"""How many there were between the first process and this one. To be compared with what it was when something was made:
a request can afford that, and no system call."""


def refusal(what: str) -> BadInput:
    """Why this process cannot use it."""
    return BadInput(f"this {what} belongs to the process that made it and not to its forks: make one after the fork")


def _count() -> None:
    global forks
    forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_count)

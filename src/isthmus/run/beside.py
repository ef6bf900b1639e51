"""The device computes what the server was asked for too, once that is late or from the start; whoever is first, counts.

A request that is hedged late costs little where nothing was wrong (Dean, Barroso, "The Tail at Scale", CACM 2013): here
the second answer comes from the device, which has nothing else to do while it waits. Whoever comes second is broken off
(their "tied requests"): the device's core belongs to the next request.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from isthmus.engine import Stop
from isthmus.errors import Late, Remote
from isthmus.run.connection import Heard, Ticket
from isthmus.run.types import Arrays

SLICE_S = 0.003
"""The wait for the server is looked up from this often: an answer made here is noticed that much later at most."""


class Beside:
    """A computation in a thread of its own."""

    def __init__(self, compute: Callable[[], Arrays], clock: Callable[[], float] = time.perf_counter) -> None:
        self.outputs: Arrays | None = None
        """What it made; None before the end, and where it failed: then it is to be tried once more, by who can say so.
        """
        self.took_s = 0.0
        self._compute, self._clock, self._stop = compute, clock, Stop()
        self._thread = threading.Thread(target=self._run, daemon=True, name="isthmus-beside")
        self._thread.start()

    @property
    def ended(self) -> bool:
        """Whether there is nothing more to wait for."""
        return not self._thread.is_alive()

    def wait(self) -> None:
        """Until it has ended."""
        self._thread.join()

    def stop(self) -> None:
        """It is not needed any more: breaks it off, without waiting for its end."""
        self._stop.now()

    def _run(self) -> None:
        begun = self._clock()
        try:
            with self._stop:
                self.outputs = self._compute()
        except Exception:  # noqa: BLE001 - whatever it was: the caller computes again in his own thread, and hears of it
            return
        finally:
            self.took_s = self._clock() - begun


def overtaken(ticket: Ticket, beside: Beside) -> Heard | Remote | None:
    """The server's word if it comes before the device is done, which is broken off then. Else the device is done: None,
    or why no answer will come, where that is known by then."""
    while not beside.ended:
        try:
            heard = ticket.wait(SLICE_S)
            beside.stop()
            return heard
        except Late:
            continue
        except Remote as e:
            beside.wait()
            return e
    return None

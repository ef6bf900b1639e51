"""The chooser as a session asks and tells it: what it fails to learn costs no answer, and is told of."""

from __future__ import annotations

import logging
import threading

from isthmus.errors import BadInput, IsthmusError
from isthmus.record.types import Choice, Chooser, Step, beliefs_of, probe_size_of

_log = logging.getLogger(__name__)


class Decider:
    """Asks a chooser from any thread, one at a time. It may be anybody's, and those that read from the server tell it
    too, so what goes wrong there may reach neither them nor who waits for an answer that is there."""

    def __init__(self, chooser: Chooser) -> None:
        self._chooser = chooser
        self._lock = threading.Lock()
        self._stumbles = 0
        self._why = ""

    def choose(self, now_s: float, batch: int) -> tuple[Choice, tuple[float | None, float | None]]:
        """Its choice, and what it believes: nothing, where it fails at saying that. Raises what its `choose` raises."""
        with self._lock:
            choice = self._chooser.choose(now_s, batch)
            try:
                return choice, beliefs_of(self._chooser.beliefs)
            except Exception as e:  # noqa: BLE001 - see above
                self._stumbled(e)
                return choice, (None, None)

    def observe(self, step: Step) -> None:
        """Tells it of a request or a probe. Raises nothing: the first time it fails is logged, and each is counted."""
        with self._lock:
            try:
                self._chooser.observe(step)
            except Exception as e:  # noqa: BLE001 - see above
                self._stumbled(e)

    def probe_bytes(self, now_s: float) -> int:
        """How many bytes it wants to be probed with; none where it fails."""
        with self._lock:
            try:
                return probe_size_of(self._chooser.probe_bytes(now_s))
            except Exception as e:  # noqa: BLE001 - see above
                self._stumbled(e)
                return 0

    @property
    def stumbled(self) -> BadInput | None:
        """How often it failed so, and why it first did; None where it never did."""
        with self._lock:
            if not self._stumbles:
                return None
            times = "once" if self._stumbles == 1 else f"{self._stumbles} times"
            return BadInput(f"the chooser failed {times}, which cost no answer: {self._why}")

    def _stumbled(self, error: Exception) -> None:
        self._stumbles += 1
        if self._stumbles == 1:
            ours = isinstance(error, IsthmusError)  # says where itself
            self._why = str(error) if ours else f"{type(error).__name__}: {error}"
            _log.warning("the chooser failed: %s", self._why, exc_info=None if ours else error)

"""The journal as a session writes it: a line that cannot be written costs no answer, and is told of."""

from __future__ import annotations

import logging
import threading

from isthmus.errors import BadInput
from isthmus.record.types import Step, StepWriter

_log = logging.getLogger(__name__)


class Scribe:
    """Writes to a journal, where there is one, from any thread: those that read from the server write too, so nothing
    that goes wrong here may reach them."""

    def __init__(self, journal: StepWriter | None) -> None:
        self._journal = journal
        self._lock = threading.Lock()
        self._lacking = 0
        self._why = ""

    def write(self, step: Step) -> None:
        """One more line. Raises nothing: the first that cannot be written is logged, and each is counted."""
        if self._journal is None:
            return
        with self._lock:
            try:
                self._journal.write(step)
            except Exception as e:  # noqa: BLE001 - a disk's or a stranger's; the answer is there all the same
                self._lacking += 1
                if self._lacking == 1:
                    self._why = str(e) or type(e).__name__
                    _log.warning("the journal lacks a line from here on: %s", self._why)

    @property
    def unwritten(self) -> BadInput | None:
        """How many lines are missing, and why; None where none is."""
        with self._lock:
            if not self._lacking:
                return None
            lines = "line" if self._lacking == 1 else "lines"
            return BadInput(f"the journal lacks {self._lacking} {lines}: {self._why}")

"""What a request that was sent is waited for with."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from isthmus.errors import Late, Refused, Remote
from isthmus.run.frame import Frame, Kind, Parcel, read_header
from isthmus.run.replies import Came
from isthmus.run.split_pb2 import Refusal


class Heard(NamedTuple):
    """A frame from the server and when it was here; `spread`: how it came in, where it came in pieces."""

    frame: Frame
    at_s: float
    spread: Came | None = None


class Ticket:
    """Waits for the server's word on one request."""

    def __init__(self, parcel: Parcel, listen: Callable[[Callable[[], bool], float, bool], None]) -> None:
        self.parcel = parcel
        self._listen = listen
        self._word: Heard | Remote | None = None
        self._silence = threading.Lock()
        """Held until there is a word."""
        self._silence.acquire()

    def put(self, word: Heard | Remote) -> None:
        """What came, or why nothing will; once."""
        self._word = word
        self._silence.release()

    def wait(self, timeout_s: float) -> Heard:
        """The server's frame. Raises Late after `timeout_s`, Refused when it said no, Unreachable when it was lost."""
        end = time.monotonic() + timeout_s
        self._listen(self._heard, timeout_s, self.parcel.kind is Kind.ASK)
        if self._word is None:  # another thread listens
            self._silence.acquire(timeout=min(threading.TIMEOUT_MAX, max(0.0, end - time.monotonic())))
        word = self._word
        if word is None:
            raise Late(f"no answer within {timeout_s * 1e3:.0f} ms of sending")
        if isinstance(word, Remote):
            raise word
        if word.frame.kind is Kind.REFUSAL:
            raise Refused(read_header(Refusal, word.frame).reason)
        return word

    def _heard(self) -> bool:
        return self._word is not None

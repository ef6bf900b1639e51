"""When to trust a server again after it has failed: strikes, and a pause that doubles with each."""

from __future__ import annotations

from dataclasses import dataclass

from isthmus.record.patience import FIRST_PAUSE_S, LONGEST_PAUSE_S, pause_s


@dataclass
class Health:
    """Counts strikes in a row. After one, nothing is sent until the pause is over *and* the server has shown a sign of
    life that it sent after the strike: then all that was left in the pipe has gone too.

    >>> health = Health()
    >>> health.struck(10.0), health.may_send(10.05)
    (None, False)
    >>> health.may_try(10.05), health.may_try(10.1)
    (False, True)
    >>> health.revived(10.15), health.may_send(10.15)
    (None, True)
    """

    strikes: int = 0
    tries: int = 0
    not_before_s: float = 0.0
    alive: bool = True

    def struck(self, now_s: float) -> None:
        """A request came to grief."""
        self.strikes += 1
        self._pause(now_s, self.strikes)

    def tried(self, now_s: float) -> None:
        """An attempt to reach the server failed."""
        self.tries += 1
        self._pause(now_s, self.tries)

    def revived(self, now_s: float) -> None:
        """The server answered a greeting or a ping."""
        self.alive, self.tries = True, 0

    def served(self) -> None:
        """A request was answered in time."""
        self.strikes = 0

    def may_try(self, now_s: float) -> bool:
        """Whether to knock now."""
        return not self.alive and now_s >= self.not_before_s

    def may_send(self, now_s: float) -> bool:
        """Whether requests may be sent now."""
        return self.alive

    def _pause(self, now_s: float, count: int) -> None:
        self.alive = False
        self.not_before_s = now_s + pause_s(count, FIRST_PAUSE_S, LONGEST_PAUSE_S)

"""Does the server answer? What the client should do while it does not, and when to try again."""

from __future__ import annotations

from isthmus.record.patience import pause_s

FIRST_PROBE_S = 0.1
LONGEST_PROBE_S = 0.5
"""A server that comes back is noticed within this long, plus the probe's own time."""
FIRST_HOLD_S, LONGEST_HOLD_S = 1.0, 8.0


class Health:
    """After one request without an answer the device works alone and probes ask after the server, 0.1 s apart, then
    0.2, 0.4, 0.5 s. The first probe answered ends that. If the next request fails again although probes are answered,
    requests stay away for 1, 2, 4, 8 s, so that a server that takes probes and loses requests costs little.

    >>> server = Health()
    >>> server.failed(began_s=1.0, now_s=1.2, probe=False)
    >>> server.down, server.probe_gap_s
    (True, 0.1)
    >>> server.answered(began_s=1.3, now_s=1.35, probe=True)
    >>> server.down
    False
    """

    def __init__(self) -> None:
        self.down = False
        self.probe_gap_s = FIRST_PROBE_S
        self._since_s = 0.0
        self._strikes = 0
        self._hold_until_s = 0.0

    def failed(self, *, began_s: float, now_s: float, probe: bool) -> None:
        """A request or probe came back without an answer."""
        if self.down:
            if probe:
                self.probe_gap_s = min(LONGEST_PROBE_S, 2 * self.probe_gap_s)
            return
        if began_s < self._since_s:
            return  # sent before the trouble that we have already dealt with
        self.down, self._since_s, self.probe_gap_s = True, now_s, FIRST_PROBE_S
        if not probe:
            self._strikes += 1
        hold_s = 0.0 if self._strikes < 2 else pause_s(self._strikes - 1, FIRST_HOLD_S, LONGEST_HOLD_S)
        self._hold_until_s = now_s + hold_s

    def answered(self, *, began_s: float, now_s: float, probe: bool) -> None:
        """A request or probe was answered by the server."""
        if not probe:
            self._strikes = 0
        if self.down and began_s >= self._since_s:
            self.probe_gap_s = FIRST_PROBE_S
            self.down = now_s < self._hold_until_s

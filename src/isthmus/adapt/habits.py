"""How a chooser behaves, in numbers."""

from __future__ import annotations

from dataclasses import dataclass

from isthmus.errors import BadInput


@dataclass(frozen=True)
class Habits:
    """How the chooser behaves. deadline_s: the answer is wanted within this long, None for as soon as possible.
    margin: another choice must be this much cheaper before it is taken at once (0.05 is 5 %; the cost model itself errs
    by 2 to 4 %, and two cuts that close are not worth a change). patience: but when staying has cost this share of a
    request in all, the cheaper one is taken however close they are, so that no small difference is paid for ever.
    probe_every_s: without a bandwidth sample for this long, a probe of `probe_bytes` is asked for; it must leave 8 kB
    after its first chunk for dispersion to say anything. probe_share: sooner after a request that told nothing of the
    link, as long as probes take no more than this share of the link's time (all of it while nothing else is sent);
    0: not sooner. besides: the server may be asked beside the device too, whoever is first (docs/decisions/0012); its
    work and the bytes are often for nothing then.
    """

    deadline_s: float | None = None
    margin: float = 0.05
    patience: float = 0.1
    probe_every_s: float = 2.0
    probe_bytes: int = 12_500
    probe_share: float = 0.3
    besides: bool = True

    def __post_init__(self) -> None:
        if self.deadline_s is not None and not self.deadline_s > 0:
            raise BadInput(f"a deadline must be above zero, not {self.deadline_s}")
        if not 0 <= self.margin < 1 or not self.patience >= 0:
            raise BadInput("a chooser needs 0 ≤ margin < 1 and a patience of at least 0")
        if not self.probe_every_s > 0 or not 0 <= self.probe_bytes <= 1_000_000:
            raise BadInput("a chooser needs probe_every_s above zero and probe_bytes within 0…1000000")
        if not 0 <= self.probe_share <= 1:
            raise BadInput(f"probes take a share of the link's time from 0 to 1, not {self.probe_share}")

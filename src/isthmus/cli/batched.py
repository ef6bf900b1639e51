"""`isthmus run --max-batch`: callers that ask on their own account, gathered into batches."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from functools import partial

import numpy as np
from pydantic import BaseModel, ConfigDict, computed_field

from isthmus.cli.common import err, interruptible, out, progress_bar
from isthmus.codec import Array
from isthmus.errors import Busy
from isthmus.record import Batching
from isthmus.record.summary import quantile
from isthmus.run import Answer, Session
from isthmus.units import show_seconds

_BATCHES_KEPT = 2
"""Without a pace, so many batches' worth of callers ask again as soon as they are answered."""


class Callers(BaseModel):
    """How those fared who asked. Seconds are from asking to answer, `wait` is the part spent gathering."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    asked: int
    answered: int
    turned_away: int
    """not taken because too many waited"""
    failed: int
    batches: int
    mean_batch: float
    """requests, not samples"""
    wait_p50_s: float | None
    p50_s: float | None
    p99_s: float | None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def lost(self) -> int:
        """Who asked and was not answered."""
        return self.asked - self.answered


class Count:
    """Keeps what came of every request."""

    def __init__(self) -> None:
        self.turned_away = 0
        self.troubles: list[str] = []
        self._answers: list[tuple[float, float, int]] = []
        self._lock = threading.Lock()

    def done(self, asked_s: float, room: threading.Semaphore, future: Future[Answer]) -> None:
        """One future is done, which makes room for another."""
        now_s, error = time.perf_counter(), future.exception()
        room.release()
        with self._lock:
            if error is not None:
                self.troubles.append(str(error))
            else:
                answer = future.result()
                self._answers.append((now_s - asked_s, answer.wait_s, answer.step.id))

    def summed_up(self, asked: int) -> Callers:
        """The numbers."""
        took, waited, _ = np.array(self._answers, np.float64).reshape(-1, 3).T
        batches = len({step for *_, step in self._answers})
        return Callers(
            asked=asked,
            answered=len(took),
            turned_away=self.turned_away,
            failed=len(self.troubles),
            batches=batches,
            mean_batch=len(took) / batches if batches else 0.0,
            wait_p50_s=quantile(waited, 0.5),
            p50_s=quantile(took, 0.5),
            p99_s=quantile(took, 0.99),
        )


def send_batched(
    session: Session, inputs: Iterator[Mapping[str, Array]], requests: int, every_s: float, rule: Batching
) -> Callers:
    """Ask at a pace, whether the ones before are answered or not; without a pace, as many as make two batches ask
    again and again. Ctrl-C asks no more and waits for what is under way."""
    count, asked = Count(), 0
    room = threading.Semaphore(_BATCHES_KEPT * rule.max_batch if every_s == 0 else requests)
    start_s = time.perf_counter()
    with (
        interruptible() as stopped,
        progress_bar("requests") as progress,
        session.batched(rule.max_batch, rule.max_delay_s) as batcher,
    ):
        for number in range(requests):
            if stopped.wait(max(0.0, start_s + number * every_s - time.perf_counter())):
                err.print("interrupted; the requests so far:")
                break
            room.acquire()
            asked += 1
            asked_s = time.perf_counter()
            try:
                future = batcher.submit(next(inputs))
            except Busy:
                count.turned_away += 1
                continue
            future.add_done_callback(partial(count.done, asked_s, room))
            progress(number + 1, requests, "asked")
    for trouble in dict.fromkeys(count.troubles):
        err.print(trouble)
    return count.summed_up(asked)


def show_callers(callers: Callers) -> None:
    """One line."""
    out.print(
        f"{callers.answered} of {callers.asked} callers answered in {callers.batches} batches of "
        f"{callers.mean_batch:.1f}: p50 {show_seconds(callers.p50_s or 0)}, p99 {show_seconds(callers.p99_s or 0)}, "
        f"gathered for {show_seconds(callers.wait_p50_s or 0)} (p50); {callers.turned_away} turned away"
    )

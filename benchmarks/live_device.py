"""The device of a live replay, as a process of its own: opens a bundle once, then plays what it is told, line by line.

An order is one JSON line on standard input: `{"table": {...}, "policy": ..., "start_s": ..., ...}` (`Order`); the
answer is one on standard output. Requests start at fixed moments after `start_s` (or when the one before has ended);
both processes read the same monotonic clock. It is as slow as the bundle's device profile declares it.
"""

from __future__ import annotations

import json
import sys
import time
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydantic import BaseModel

from isthmus.adapt import EachRequest, Fixed, Habits, MapChooser, TableChooser, Unlearning
from isthmus.link import Link
from isthmus.link.trace import Trace
from isthmus.plan import configuration_map
from isthmus.record import Choice, Chooser, Header, Journal, Step
from isthmus.session import Ready, connect, ready, right_sizing_of, table_of

DEADLINE_S = 60.0
"""No policy is saved by the device: what never changes must bear what it gets."""
WARM = 300
"""Decisions one after the other: what they cost a processor that has not slept since the last one."""


class Order(BaseModel):
    """One replay. `choice` (cut, codec) and `exit` for one that never changes; `moments_s` and `choices` for one who
    knows beforehand; `strategy` for those that choose among exits (`edgent_map`, `edgent_map_accuracy`, `edgent_each`),
    for a requirement, bandwidth states and their spread, on a device so many times as slow as its profile says; none of
    them for the chooser that learns. `link`: what is believed at first, (up bit/s, down bit/s, rtt s, fixed s)."""

    name: str
    start_s: float
    until_s: float
    every_s: float
    link: tuple[float, float, float, float]
    trace: dict[str, object]
    journal: str
    choice: tuple[str, str] | None = None
    exit: str | None = None
    strategy: str = ""
    within_s: float | None = None
    device_factor: float = 1.0
    states_bps: tuple[float, ...] = ()
    states_spread: tuple[float, ...] = ()
    moments_s: tuple[float, ...] = ()
    choices: tuple[tuple[str, str], ...] = ()


class Known(Unlearning):
    """A clairvoyant that was told beforehand what to choose when."""

    def __init__(self, moments_s: Sequence[float], choices: Sequence[tuple[str, str]]) -> None:
        self._moments = list(moments_s)
        self._choices = [Choice(cut=cut, codec=codec, why="ends first") for cut, codec in choices]

    def choose(self, now_s: float, batch: int = 1) -> Choice:
        return self._choices[max(0, bisect_right(self._moments, now_s) - 1)]


class Timed:
    """A chooser on the trace's clock, which notes the processor's time for each decision."""

    def __init__(self, inner: Chooser) -> None:
        self.inner, self.offset_s = inner, 0.0
        self.cpu_s: list[float] = []

    def choose(self, now_s: float, batch: int = 1) -> Choice:
        before = time.thread_time()
        choice = self.inner.choose(now_s + self.offset_s, batch)
        self.cpu_s.append(time.thread_time() - before)
        return choice

    def observe(self, step: Step) -> None:
        self.inner.observe(step.model_copy(update={"t_s": step.t_s + self.offset_s}))

    def probe_bytes(self, now_s: float) -> int:
        return self.inner.probe_bytes(now_s + self.offset_s)

    @property
    def beliefs(self) -> tuple[float | None, float | None]:
        return self.inner.beliefs


class Kept:
    """Keeps steps."""

    def __init__(self) -> None:
        self.all: list[Step] = []

    def write(self, step: Step) -> None:
        self.all.append(step)


def chooser_of(order: Order, here: Ready) -> Chooser:
    """Whoever decides in this replay."""
    if order.choice is not None:
        return Fixed(Choice(cut=order.choice[0], codec=order.choice[1], exit=order.exit))
    if order.moments_s:
        return Known(order.moments_s, order.choices)
    if order.strategy:
        return strategist(order, here)
    return TableChooser(replace(table_of(here.bundle), link=Link(*order.link)), Habits())


def strategist(order: Order, here: Ready) -> Chooser:
    """Whoever chooses exit and cut, as `isthmus.session.map_chooser_of` makes it, from this link on."""
    link = Link(*order.link)
    found = right_sizing_of(
        here.bundle, within_s=order.within_s, states_bps=order.states_bps, states_spread=order.states_spread
    )
    device = replace(found.machines[0], factor=order.device_factor)
    problem = replace(found, links=(link,), machines=(device, *found.machines[1:]))
    watch = TableChooser(replace(table_of(here.bundle), link=link), Habits(deadline_s=order.within_s))
    if order.strategy == "edgent_each":
        return EachRequest.of(problem, watch)
    return MapChooser(
        configuration_map(problem, "accuracy_first" if order.strategy == "edgent_map_accuracy" else "edgent"), watch
    )


def play(order: Order, here: Ready, address: str, inputs: dict[str, np.ndarray]) -> dict[str, object]:
    """One replay; the steps go to the journal, on the trace's clock."""
    chooser, kept = Timed(chooser_of(order, here)), Kept()
    with connect(here, address, chooser=chooser, journal=kept, deadline_s=DEADLINE_S) as session:
        session.wait_connected(10)
        chooser.offset_s = time.monotonic() - order.start_s - session.now_s()
        number = 0
        while True:
            now_s = time.monotonic() - order.start_s
            due_s = max(now_s, number * order.every_s)
            if due_s >= order.until_s:
                break
            time.sleep(due_s - now_s)
            session.infer(inputs)
            number = max(number + 1, int((time.monotonic() - order.start_s) // order.every_s))
    trace = Trace.from_row(order.trace)
    told = tuple(zip(trace.times_s.tolist(), trace.rates_bps.tolist(), strict=True))
    header = Header(model=here.bundle.manifest.name, device=order.name, link_trace=told)
    with Journal(order.journal, header, replace=True) as journal:
        for step in kept.all:
            t_s = step.t_s + chooser.offset_s
            if t_s >= 0:
                journal.write(step.model_copy(update={"t_s": t_s, "true_bps": trace.rate_at(t_s)}))
    asked = len(chooser.cpu_s)
    for _ in range(WARM):
        chooser.choose(order.until_s)
    return {"cpu_us": np.median(chooser.cpu_s[:asked]) * 1e6, "warm_us": np.median(chooser.cpu_s[asked:]) * 1e6}


def main() -> None:
    folder, address, picture = sys.argv[1:]
    here = ready(Path(folder))
    name = here.engine.graph.inputs[0]
    inputs = {name: np.load(picture)}
    here.engine.whole(inputs)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        print(json.dumps(play(Order.model_validate_json(line), here, address, inputs)), flush=True)


if __name__ == "__main__":
    main()

"""A decision made ahead is the one that would have been made on the spot, whatever came before."""

from __future__ import annotations

import copy
import random

import numpy as np
import pytest

from isthmus.adapt import Habits, TableChooser
from isthmus.adapt.chooser import STEP_S
from isthmus.graph.types import INPUT, OUTPUT
from isthmus.link import Link
from isthmus.plan.cost import CostTable
from isthmus.record import Evidence, Seconds, Step

ROWS = ((INPUT, 1.0, 20.0, 400e3), ("a", 15.0, 18.0, 200e3), ("b", 30.0, 15.0, 60e3), ("c", 45.0, 12.0, 1e3))


def table(batch: int) -> CostTable:
    rows = (*ROWS, (OUTPUT, 140.0, 0.0, 0.0))
    device, server, up = (batch * np.array([row[k] for row in rows]) for k in (1, 2, 3))
    return CostTable(
        cuts=tuple(row[0] for row in rows),
        codecs=("float32",) * len(rows),
        device_s=device / 1e3,
        server_s=server / 1e3,
        up_bytes=up,
        down_bytes=np.where(up > 0, 100.0, 0.0),
        link=Link(20e6, 20e6, 0.01),
    )


def event(rng: random.Random, number: int, now_s: float, usual_bps: float = 20e6) -> Step:
    """A request or probe that came to its end now, with whatever it may tell."""
    kind = rng.choice(["probe", "request", "request"])
    rate = rng.choice([None, *5 * [usual_bps], 1.1 * usual_bps, 2e6])
    ran = rng.choice(["device", "split", "server"]) if kind == "request" else "server"
    return Step.model_validate(
        {
            "kind": kind,
            "id": number,
            "t_s": now_s - 0.05,
            "ran": ran,
            "cut": OUTPUT if ran == "device" else rng.choice([INPUT, "a", "b", "c"]),
            "codec": "float32",
            "batch": rng.choice([1, 4]),
            "seconds": Seconds(total=0.05, head=rng.uniform(0.01, 0.05), local=rng.uniform(0.1, 0.2), up=0.02),
            "up_bytes": 12_500,
            "evidence": Evidence(
                up_bps=rate if ran != "device" else None,
                rtt_s=rng.choice([None, 0.01, 0.05]),
                server_s=rng.choice([None, 0.01, 0.03]),
                queue_s=rng.choice([None, 0.0, 0.03]),
            ),
            "trouble": "nobody there" if rng.random() < 0.05 else "",
        }
    )


@pytest.mark.parametrize("deadline_s", [None, 0.1])
@pytest.mark.parametrize("seed", range(6))
def test_decisions_made_ahead_are_those_made_on_the_spot(seed: int, deadline_s: float | None) -> None:
    """Two choosers live through the same; one never finds anything ready."""
    rng = random.Random(seed)
    ready = TableChooser({1: table(1), 4: table(4)}, Habits(deadline_s=deadline_s))
    afresh = copy.deepcopy(ready)
    now_s, found, ahead = 0.0, set(), 0
    for number in range(900):
        now_s += rng.choice([0.001, 0.02, 0.1, 0.1, 0.7])
        what, usual_bps = rng.random(), (0.5e6, 5e6, 30e6, 90e6, 400e6)[number // 60 % 5]
        if what < 0.7:
            assert ready.probe_bytes(now_s) == afresh.probe_bytes(now_s)
        if what < 0.4:
            now_s += rng.choice([0.001, 0.09])
            batch = rng.choice([1, 1, 1, 4])
            ahead += int(now_s / STEP_S) in ready._ready and ready._size is ready._sizes.at(batch)
            afresh._ready.clear()
            mine, fresh = ready.choose(now_s, batch), afresh.choose(now_s, batch)
            assert mine == fresh, number
            found.add(mine.cut)
        elif what > 0.6:
            told = event(rng, number, now_s, usual_bps)
            ready.observe(told)
            afresh.observe(told)
        assert ready.beliefs == afresh.beliefs
    assert len(found) >= 3, "the case is easy: hardly any choice was ever made"
    assert ahead > 50, "hardly any decision was made ahead"


def test_a_decision_that_is_ready_is_only_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    chooser = TableChooser(table(1))
    for t in range(10):
        chooser.observe(event(random.Random(t), t, 0.1 * t))
    while chooser.probe_bytes(1.05):
        chooser.observe(event(random.Random(1), 0, 1.05))
    monkeypatch.setattr(CostTable, "latency_s", lambda *_: pytest.fail("priced at the request's cost"))
    chooser.choose(1.1)


def test_what_staying_costs_adds_up_when_decisions_are_looked_up() -> None:
    """However close the better choice is: once staying has cost a tenth of a request, it is taken."""
    chooser, bps, now_s = TableChooser(table(1)), 14e6, 0.0

    def told() -> Step:
        evidence = Evidence(up_bps=bps)
        none = Seconds(total=0.0)
        return Step(id=0, t_s=now_s, ran="split", cut="b", codec="float32", seconds=none, evidence=evidence)

    while not (kept := chooser.choose(now_s)).why.startswith("kept"):
        now_s, bps = now_s + 0.1, bps * (1.0 if now_s < 3 else 1.01)
        assert bps < 1e9, "no rate at which two choices are close"
        chooser.observe(told())
    cuts = [chooser.choose(now_s).cut for _ in range(2000)]
    assert cuts[0] == kept.cut != cuts[-1]

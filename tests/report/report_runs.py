"""A made-up run as a real one looks: the rate changes, the cut follows it, the server dies for a while and returns."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Any

from isthmus.plan.types import Candidate, CostRow, Plan
from isthmus.record import Evidence, Header, Ran, Seconds, Step

CUTS = {  # cut id: (head s, tail s, bytes)
    "@input": (0.0, 0.0195, 150_528),
    "/features/features.2/Add_output_0": (0.031, 0.0142, 37_632),
    "/features/features.4/Add_output_0": (0.052, 0.0098, 15_680),
    "/features/features.7/Conv_output_0": (0.083, 0.0041, 7_840),
    "@output": (0.128, 0.0, 0),
}
TRACE = ((0.0, 40e6), (9.0, 6e6), (18.0, 1.2e6), (26.0, 0.3e6), (34.0, 3e6), (42.0, 60e6))
HEADER = Header(
    model="zoo:mobilenet_v2",
    started="2025-01-01T12:00:00Z",
    device="1 core, slowed 4 times",
    server="8 cores",
    link="TCP, shaped, round trip 12 ms",
    link_trace=TRACE,
    cut_order=tuple(CUTS),
)
RTT_S = 0.012


def price(cut: str, bps: float) -> Seconds:
    """What a request should take at this rate."""
    head, tail, size = CUTS[cut]
    if cut == "@output":
        return Seconds(total=head, local=head)
    up, down = RTT_S / 2 + size * 8 / bps, RTT_S / 2 + 0.0002
    encode, queue, decode = 1e-4 + size * 5e-9, 4e-4, 1e-4 + size * 3e-9
    total = head + encode + up + queue + decode + tail + down
    return Seconds(total=total, head=head, encode=encode, up=up, queue=queue, decode=decode, tail=tail, down=down)


def changing_run(duration_s: float = 52.0, outage: tuple[float, float] = (45.0, 48.0), seed: int = 0) -> list[Step]:
    """Some 550 requests and the probes between them."""
    return list(_walk(random.Random(seed), duration_s, outage))


def steady_run(count: int, **change: Any) -> list[Step]:
    """As many equal requests, ten a second."""
    known: dict[str, Any] = {"ran": "split", "cut": "a", "codec": "int8", "seconds": Seconds(total=0.05, head=0.05)}
    return [Step(**({"id": i, "t_s": i / 10} | known | change)) for i in range(count)]


def plan_at(bps: float) -> Plan:
    """The cheapest of the cuts at this rate, with all of them as candidates."""
    rows = {cut: _row(cut, bps) for cut in CUTS}
    best = min(rows, key=lambda c: rows[c].total_s)
    return Plan(
        model="zoo:mobilenet_v2", planner="neurosurgeon", batch=1, cuts=(best,), codec="int8", cost=rows[best],
        why=f"the cheapest of {len(rows)} cuts at {bps / 1e6:g} Mbit/s",
        candidates=tuple(Candidate(cuts=(c,), codec="int8", cost=r) for c, r in rows.items()),
    )  # fmt: skip


def _walk(chance: random.Random, duration_s: float, outage: tuple[float, float]) -> Iterator[Step]:
    t_s, number, belief, away_until = 0.0, 0, 20e6, 0.0
    while t_s < duration_s:
        true_bps = next(bps for at, bps in reversed(TRACE) if at <= t_s)
        cut = "@output" if t_s < away_until else min(CUTS, key=lambda c: price(c, belief).total)
        if cut == "@output" and number % 8 == 0:
            measured = true_bps * chance.uniform(0.85, 1.05)
            belief = math.exp(0.5 * math.log(belief) + 0.5 * math.log(measured))
            yield _probe(number, t_s, measured, belief)
            number += 1
        step = _request(chance, number, t_s, cut, true_bps, belief, down=outage[0] <= t_s < outage[1])
        if step.trouble:
            away_until = t_s + 1.0
        if step.evidence.up_bps:
            belief = math.exp(0.6 * math.log(belief) + 0.4 * math.log(step.evidence.up_bps))
        yield step
        number, t_s = number + 1, t_s + step.seconds.total + 0.004


def _probe(number: int, t_s: float, measured: float, belief: float) -> Step:
    return Step(
        kind="probe", id=number, t_s=t_s, ran="device", cut="@output", codec="", seconds=Seconds(total=0.02),
        up_bytes=4096, evidence=Evidence(up_bps=measured), estimate_bps=belief,
    )  # fmt: skip


def _request(
    chance: random.Random, number: int, t_s: float, cut: str, true_bps: float, belief: float, *, down: bool
) -> Step:
    known: dict[str, Any] = {
        "id": number, "t_s": t_s, "codec": "jpeg:90" if cut == "@input" else "int8", "predicted_s":
        price(cut, belief).total, "estimate_bps": belief, "true_bps": true_bps, "wrong": False, "error": 0.002,
    }  # fmt: skip
    if cut != "@output" and down:
        head, local = CUTS[cut][0], CUTS["@output"][0] - CUTS[cut][0]
        seconds = Seconds(total=head + 0.2 + local, head=head, lost=0.2, local=local)
        return Step(
            **known, ran="device", cut="@output", asked=cut, seconds=seconds, up_bytes=CUTS[cut][2],
            trouble="no answer within 200 ms: connection refused",
        )  # fmt: skip
    factors = {name: chance.gauss(1, 0.05) for name in Seconds.model_fields}
    causes = {n: max(v * factors[n], 0.0) for n, v in price(cut, true_bps) if n != "total"}
    ran: Ran = "device" if cut == "@output" else "server" if cut == "@input" else "split"
    evidence = Evidence() if ran == "device" else Evidence(up_bps=true_bps * chance.gauss(0.97, 0.06), rtt_s=RTT_S)
    return Step(
        **known, ran=ran, cut=cut, seconds=Seconds(total=sum(causes.values()) + 0.0003, **causes),
        up_bytes=CUTS[cut][2], down_bytes=0 if ran == "device" else 4000, evidence=evidence,
    )  # fmt: skip


def _row(cut: str, bps: float) -> CostRow:
    s, size = price(cut, bps), CUTS[cut][2]
    return CostRow(
        compute_s=(s.head + s.local, s.tail), up_s=(s.up,), down_s=(s.down,), codec_s=s.encode + s.decode,
        fixed_s=s.queue, up_bytes=(size,), down_bytes=(4000 if size else 0,), total_s=s.total,
    )  # fmt: skip

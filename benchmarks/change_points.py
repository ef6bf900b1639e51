"""How well and how fast does the change point detector follow a link, against simpler estimators in the same run?

Synthetic: constant stretches of random length and rate (at least a factor 1.5 apart), log-normal noise, 2 % stalled
samples. A change counts as found if it is flagged within 4 samples of the step; every other flag is a false alarm.
Error: median and mean of |log(belief before the sample / true rate)|, as a factor. Real (when ISTHMUS_DATA is set): the
same error against the next value of each trace. `--tune` walks over the prior. Peers: the last value, an exponential
average, the harmonic mean of five (what adaptive video players use), CUSUM with a running mean.

Targets, at low noise (`LOW_NOISE`, of the logarithm): a step by a factor of 2 found within 2 samples; at most 2 false
changes of the detector, and of the bandwidth state that a configuration map's chooser is in, per 1,000 samples of which
2 % stall alone. States lie 10 % apart and the true rate between two of them: as hard as it gets. One update ≤ 100 µs.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import product
from pathlib import Path

import numpy as np

from isthmus.adapt import MapChooser, TableChooser
from isthmus.adapt.change_points import ChangePoints, Prior
from isthmus.link import Link, read_trace
from isthmus.plan import CostTable
from isthmus.plan.map_types import ConfigMap, ConfigRow
from isthmus.record import Evidence, Seconds, Step

LOW_NOISE = (0.02, 0.05, 0.1)
Belief = Callable[[float], tuple[float, bool]]
"""Takes a sample (log bit/s), gives the belief after it and whether it flags a change."""


def bocd(prior: Prior) -> Belief:
    found = ChangePoints(prior)

    def step(x: float) -> tuple[float, bool]:
        changed = found.update(x)
        return found.mean, changed

    return step


def last_value() -> Belief:
    return lambda x: (x, False)


def exponential(share: float = 0.3) -> Belief:
    state: list[float] = []

    def step(x: float) -> tuple[float, bool]:
        state[:] = [x if not state else state[0] + share * (x - state[0])]
        return state[0], False

    return step


def harmonic(count: int = 5) -> Belief:
    recent: list[float] = []

    def step(x: float) -> tuple[float, bool]:
        recent[:] = [*recent, x][-count:]
        return -math.log(sum(math.exp(-v) for v in recent) / len(recent)), False

    return step


def cusum(drift: float = 0.15, limit: float = 0.6) -> Belief:
    """Page's two-sided test on the distance from the running mean of the segment."""
    state = {"n": 0.0, "mean": 0.0, "up": 0.0, "down": 0.0}

    def step(x: float) -> tuple[float, bool]:
        off = x - state["mean"] if state["n"] else 0.0
        state["up"] = max(0.0, state["up"] + off - drift)
        state["down"] = max(0.0, state["down"] - off - drift)
        changed = max(state["up"], state["down"]) > limit
        if changed:
            state.update(n=0.0, up=0.0, down=0.0)
        state["n"] = min(60.0, state["n"] + 1)
        state["mean"] += (x - state["mean"]) / state["n"]
        return state["mean"], changed

    return step


def synthetic(seed: int, samples: int) -> tuple[list[float], list[float], list[int]]:
    """Samples and true values in log bit/s, and where the steps are."""
    rng = np.random.default_rng(seed)
    seen: list[float] = []
    true: list[float] = []
    steps: list[int] = []
    level = math.log(5e6)
    while len(seen) < samples:
        length = int(rng.integers(15, 90))
        noise = rng.choice([0.04, 0.1, 0.2])
        values = level + noise * rng.standard_normal(length)
        stalled = rng.random(length) < 0.02
        values[stalled] -= rng.uniform(1.0, 4.0, int(stalled.sum()))
        seen += values.tolist()
        true += [level] * length
        steps.append(len(seen))
        while abs((new := rng.uniform(math.log(3e5), math.log(1e8))) - level) < math.log(1.5):
            pass
        level = new
    return seen, true, steps[:-1]


def steps_of_two(make: Callable[[], Belief], noise: float, runs: int = 400) -> dict[str, float]:
    """Share of steps by a factor of 2, up and down, after 40 samples, that are flagged by their second sample."""
    rng = np.random.default_rng(11)
    found = 0
    for run in range(runs):
        belief = make()
        for x in noise * rng.standard_normal(40):
            belief(15.0 + x)
        level = 15.0 + math.log(2) * (1 if run % 2 else -1)
        flags = [belief(level + x)[1] for x in noise * rng.standard_normal(2)]
        found += any(flags)
    return {"noise": noise, "steps": runs, "within_2_samples": found / runs}


def steady(noise: float, samples: int) -> list[float]:
    """A link that keeps its rate; every fiftieth sample or so stalls, never two in a row."""
    rng = np.random.default_rng(12)
    seen = 15.0 + noise * rng.standard_normal(samples)
    stalled = rng.random(samples) < 0.02
    stalled[1:] &= ~stalled[:-1]
    seen[stalled] -= rng.uniform(0.7, 4.0, int(stalled.sum()))
    return [float(x) for x in seen]


def false_states(seen: Sequence[float]) -> int:
    """How often a chooser on a map with a border exactly at the true rate finds itself in another state."""
    middle = math.exp(15.0)
    rows = tuple(
        ConfigRow(state_bps=middle * 1.1 ** (k + 0.5), exit=None, accuracy=0.9, cut="@output", codec="float32",
                  latency_s=0.01, reward=1.0, meets=True, sends=False)
        for k in range(-12, 12)
    )  # fmt: skip
    one = np.array([0.01])
    table = CostTable(("@output",), ("float32",), one, 0 * one, 0 * one, 0 * one, Link(middle, middle))
    chooser = MapChooser(ConfigMap(model="m", batch=1, reward="edgent", within_s=None, rows=rows), TableChooser(table))
    for k, x in enumerate(seen):
        told = Evidence(up_bps=math.exp(x), rtt_s=0.01)
        chooser.observe(
            Step(id=k, t_s=0.2 * k, ran="split", cut="", codec="", seconds=Seconds(total=0.1), evidence=told)
        )
        chooser.choose(0.2 * k + 0.1)
    return chooser.state_changes


def targets(samples: int) -> dict[str, object]:
    """The figures that are asked for."""
    calm = [steady(noise, samples) for noise in LOW_NOISE]
    flags = [len(follow(bocd(Prior()), seen)[1]) for seen in calm]
    _, _, update_us = follow(bocd(Prior()), calm[-1])
    return {
        "steps_of_two": [steps_of_two(lambda: bocd(Prior()), noise) for noise in LOW_NOISE],
        "false_changes_per_1000": [1000 * n / samples for n in flags],
        "false_states_per_1000": [1000 * false_states(seen) / samples for seen in calm],
        "low_noise": LOW_NOISE,
        "update_us": update_us,
        "update_target_us": 100.0,
    }


def follow(belief: Belief, seen: Iterable[float]) -> tuple[list[float], list[int], float]:
    """The belief before each sample, where it flagged, and the least microseconds of an update in a block of 100."""
    before, flags, now = [], [], math.log(5e6)
    times = []
    for at, x in enumerate(seen):
        before.append(now)
        start = time.perf_counter()
        now, changed = belief(x)
        times.append(time.perf_counter() - start)
        if changed:
            flags.append(at)
    blocks = [sum(times[i : i + 100]) / len(times[i : i + 100]) for i in range(0, len(times), 100)]
    return before, flags, min(blocks) * 1e6


def score(belief: Belief, seen: list[float], true: list[float], steps: list[int]) -> dict[str, float]:
    before, flags, update_us = follow(belief, seen)
    delays = [min((f - s for f in flags if 0 <= f - s <= 4), default=None) for s in steps]
    found = [d for d in delays if d is not None]
    near = {f for s in steps for f in flags if 0 <= f - s <= 4}
    errors = np.abs(np.array(before) - np.array(true))
    return {
        "steps": len(steps),
        "found": len(found),
        "within_2_samples": sum(d <= 1 for d in found),
        **({"mean_delay": float(np.mean(found))} if found else {}),
        "false_alarms_per_1000": 1000 * (len(flags) - len(near)) / len(seen),
        "median_error": float(np.expm1(np.median(errors))),
        "mean_error": float(np.expm1(errors.mean())),
        "update_us": update_us,
    }


def real(belief: Callable[[], Belief], every: int) -> dict[str, float]:
    """Mean one-step error on each set of real traces; outages (no sample would arrive) are left out."""
    root = os.environ.get("ISTHMUS_DATA")
    results: dict[str, float] = {}
    if not root:
        return results
    for folder in sorted(p for p in (Path(root) / "traces").iterdir() if p.is_dir()):
        errors: list[float] = []
        for file in sorted(folder.iterdir())[::every]:
            seen = [math.log(r) for r in read_trace(file).rates_bps.tolist() if r > 1e4]
            before, _, _ = follow(belief(), seen)
            errors += [abs(b - x) for b, x in zip(before[5:], seen[5:], strict=True)]
        results[folder.name] = float(np.expm1(np.mean(errors)))
    return results


def tune(samples: int) -> None:
    """Print the synthetic and real errors over a grid of priors, best first."""
    rows = []
    grid = product((0.045, 0.02, 0.09), (1 / 30, 1 / 60, 1 / 120), (0.02, 0.03, 0.05), (20.0, 60.0))
    for beta, hazard, outliers, memory in grid:
        prior = Prior(beta=beta, hazard=hazard, outliers=outliers, memory=memory)
        made = score(bocd(prior), *synthetic(7, samples))
        errors = real(lambda prior=prior: bocd(prior), every=12)  # type: ignore[misc]
        rows.append((made["mean_error"], float(np.mean(list(errors.values()) or [0])), prior, made))
    for error, on_real, prior, made in sorted(rows, key=lambda r: r[0] + r[1])[:12]:
        print(f"{error:.3f} real {on_real:.3f} {prior} {made}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--samples", type=int, default=12_000)
    parser.add_argument("--every", type=int, default=6, help="take every n-th file of each real set")
    parser.add_argument("--tune", action="store_true")
    asked = parser.parse_args()
    if asked.tune:
        tune(asked.samples)
        return
    makers: dict[str, Callable[[], Belief]] = {
        "bocd": lambda: bocd(Prior()),
        "cusum": cusum,
        "last": last_value,
        "exponential": exponential,
        "harmonic5": harmonic,
    }
    data = synthetic(1, asked.samples)
    results = {
        name: {"synthetic": score(make(), *data), "real": real(make, asked.every)} for name, make in makers.items()
    }
    figures = targets(asked.samples)
    if asked.json:
        print(json.dumps({**results, "targets": figures}))
        return
    print("targets", figures)
    for name, row in results.items():
        print(name, {k: round(v, 3) for k, v in row["synthetic"].items()})
        print("   real:", {k: round(v, 3) for k, v in row["real"].items()})


if __name__ == "__main__":
    main()

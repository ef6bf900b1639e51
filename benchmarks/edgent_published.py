"""What the Edgent paper of 2018 prints of its static optimiser, point by point, beside what isthmus makes of its laws.

Li, Zhou, Chen: *Edge Intelligence* (MECOMM 2018). Decisions and accuracies were read off its figures. The laws are
those of its Table II (its headers read as swapped, its sizes as bytes), the network is B-AlexNet. Two readings: the
model is loaded for every request (the table has a law for that), or beforehand. Used by edgent_static.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from edgent_methods import METHODS, Row, outcome

from isthmus.graph import graph_of
from isthmus.link import Link
from isthmus.model import load_model
from isthmus.plan import Problem, problem_for
from isthmus.plan.types import Exit
from isthmus.profile.regression import load_regression, predict
from isthmus.profile.regression.predict import price_layers

ACCURACY = {"exit1": 0.747, "exit5": 0.782}
"""Figure 9; the other three never appear."""
LOADED, LOADING = "loaded beforehand", "loaded each time"
READINGS = (LOADING, LOADED)
KBIT = 1e3


@dataclass(frozen=True)
class Point:
    """One statement of the paper. `ours` by reading; `agrees` where either reading has it."""

    figure: str
    says: str
    ours: tuple[str, str]
    agrees: bool
    why: str


def published(reading: str) -> Problem:
    """The set-up of the paper: its pair, the server first, five exits of which a later one is the more accurate."""
    model = load_model("zoo:b_alexnet")
    graph = graph_of(model, 1)
    laws = [load_regression(f"edgent2018_{which}") for which in ("device", "server")]
    if reading == LOADED:
        laws = [law.model_copy(update={"loads_each_request": False}) for law in laws]
    device, server = (predict([graph], law, model.fingerprint, taken="") for law in laws)
    problem = problem_for(graph, device, server, Link(1e6, 1e6), default_codecs=("float32",))
    return replace(problem.turned(), exits=tuple(Exit(output) for output in graph.outputs))


def shown(row: Row) -> str:
    """`exit 5 p=23, 132 ms`, with what is missing to the requirement."""
    late = "" if row.meets else " (late)"
    return f"{decision(row)}, {row.seconds * 1e3:.0f} ms{late}"


def decision(row: Row) -> str:
    return f"exit {row.exit.removeprefix('exit')} p={row.partition}"


def points() -> list[Point]:
    """Every one."""
    pair = (published(LOADING), published(LOADED))
    return [*_seconds(pair), *_figure_6(pair), *_figure_8(pair), *_figure_9(pair)]


def _seconds(pair: tuple[Problem, Problem]) -> list[Point]:
    def whole(method: str, kbit: float) -> tuple[float, float]:
        return tuple(outcome(p, method, kbit * KBIT, 10.0).seconds for p in pair)  # type: ignore[return-value]

    def near(found: tuple[float, float], printed_s: float) -> bool:
        return any(abs(s / printed_s - 1) <= 0.15 for s in found)

    def told(found: tuple[float, float]) -> tuple[str, str]:
        return f"{found[0] * 1e3:.0f} ms", f"{found[1] * 1e3:.0f} ms"

    device, fast, slow = whole("device only", 1000), whole("edge only", 1000), whole("edge only", 50)
    compute = tuple(f - 98.3e-3 for f in fast)
    graph = pair[0].at_exit("exit5").graph
    layers = [
        p.seconds for p in price_layers(graph, load_regression("edgent2018_device")) if p.layer.type == "convolution"
    ]
    convolutions = "/".join(f"{s * 1e3:.0f}" for s in layers)
    return [
        Point(
            "7", "device only: about 2,420 ms", told(device), near(device, 2.42),
            "with the model loaded each time, as the table's law of 842 ms has it",
        ),
        Point(
            "text", "the edge server computes for about 10 ms", told(compute), False,  # type: ignore[arg-type]
            "by Table II the 22 layers take 34 ms",
        ),
        Point("text", "edge only at 1 Mbit/s: 123 ms", told(fast), near(fast, 0.123), "within 10 %"),
        Point(
            "text", "edge only at 50 kbit/s: 2,317 ms", told(slow), near(slow, 2.317),
            "both printed values lie on 7.5 ms + 14.4 kB / rate; the picture has 12.3 kB as float32",
        ),
        Point(
            "3", "the device's conv2 about 1,330 ms, the other convolutions 35 to 60", (f"{convolutions} ms",) * 2,
            max(layers) == layers[1] and abs(layers[1] / 1.33 - 1) < 0.15,
            "conv1 to conv5 by Table II: their sum is about right, its division is not",
        ),
    ]  # fmt: skip


def _decided(
    pair: tuple[Problem, Problem], figure: str, says: str, wanted: str, at: list[tuple[float, float]], why: str
) -> Point:
    """One decision of Edgent over a range of (kbit/s, seconds allowed): agrees where one reading has it all along."""
    found = [[outcome(p, "Edgent", kbit * KBIT, within) for kbit, within in at] for p in pair]
    agrees = any(all(row.meets and decision(row) == wanted for row in rows) for rows in found)
    ours = tuple(_range(rows) for rows in found)
    return Point(figure, says, ours, agrees, why)  # type: ignore[arg-type]


def _range(rows: list[Row]) -> str:
    names = [decision(row) + ("" if row.meets else " (late)") for row in rows]
    return " … ".join(dict.fromkeys(names))


def _figure_6(pair: tuple[Problem, Problem]) -> list[Point]:
    upload = "at 100 kbit/s 12.3 kB alone take 0.98 s; by the printed edge-only values (14.4 kB) 1.15 s"
    return [
        _decided(
            pair, "6", "1,000 ms allowed: 50 to 80 kbit/s exit 1, all on the device", "exit 1 p=1",
            [(50, 1.0), (60, 1.0), (70, 1.0), (80, 1.0)],
            "loaded each time no exit is in time; loaded beforehand exit 2 is too (0.92 s), and more accurate",
        ),
        _decided(
            pair, "6", "90 to 200 kbit/s: exit 1, all on the server", "exit 1 p=13",
            [(90, 1.0), (100, 1.0), (200, 1.0)],
            f"{upload}; at 200 kbit/s edge only takes 0.53 s (0.58 by the printed values), so exit 5 is in time",
        ),
        _decided(
            pair, "6", "300 to 1,200 kbit/s: exit 5, all on the server", "exit 5 p=23",
            [(300, 1.0), (600, 1.0), (1000, 1.0), (1200, 1.0)], "",
        ),
        _decided(
            pair, "6", "1,500 kbit/s: exit 5, from layer 17 on the device", "exit 5 p=17", [(1500, 1.0)],
            "by Table II the device is many times slower in each layer behind; only the answer's 40 B are saved",
        ),
        _decided(pair, "6", "2,000 kbit/s: exit 5, from layer 16 on the device", "exit 5 p=16",
            [(2000, 1.0)], "as above",
        ),
    ]  # fmt: skip


def _figure_8(pair: tuple[Problem, Problem]) -> list[Point]:
    return [
        _decided(
            pair, "8", "500 kbit/s, 100 to 400 ms allowed: exit 1, all on the server", "exit 1 p=13",
            [(500, 0.1), (500, 0.2), (500, 0.3), (500, 0.4)],
            "nothing is in time before the upload's 197 ms, and exit 5 from 230 ms on (238 by the printed values)",
        ),
        _decided(
            pair, "8", "450 to 1,000 ms allowed: exit 5, all on the server", "exit 5 p=23",
            [(500, 0.45), (500, 0.7), (500, 1.0)], "",
        ),
    ]  # fmt: skip


def _figure_9(pair: tuple[Problem, Problem]) -> list[Point]:
    def meets(within_s: float) -> tuple[set[str], ...]:
        return tuple({m for m in METHODS if outcome(p, m, 400 * KBIT, within_s).meets} for p in pair)

    def point(says: str, within: list[float], right: Callable[[set[str]], bool], why: str) -> Point:
        found = [meets(s) for s in within]
        agrees = any(all(right(each[k]) for each in found) for k in (0, 1))
        ours = tuple(" … ".join(dict.fromkeys(_named(each[k]) for each in found)) for k in (0, 1))
        return Point("9", says, ours, agrees, why)  # type: ignore[arg-type]

    three = {"Edgent", "partition only", "edge only"}
    return [
        point("400 kbit/s, 100 ms allowed: every method fails", [0.1], lambda m: not m, ""),
        point(
            "200 to 300 ms: only Edgent is in time, at exit 1 (0.747)", [0.2, 0.3], lambda m: m == {"Edgent"},
            "the upload alone takes 246 ms; at 300 ms the whole network is in time as well (280 ms; 296 as printed)",
        ),
        point(
            "400 ms and more: Edgent, partition only and edge only at exit 5 (0.782)", [0.4, 0.6, 1.0],
            lambda m: three <= m, "",
        ),
        point("device only is never in time", [0.1, 0.4, 1.0], lambda m: "device only" not in m, "up to 1,000 ms"),
    ]  # fmt: skip


def _named(methods: set[str]) -> str:
    return ", ".join(m for m in METHODS if m in methods) or "none"


def table(found: list[Point]) -> str:
    """As Markdown."""
    head = f"| figure | the paper | ours, {LOADING} | ours, {LOADED} | agrees | why |\n|---|---|---|---|---|---|\n"
    rows = (
        f"| {p.figure} | {p.says} | {p.ours[0]} | {p.ours[1]} | {'yes' if p.agrees else 'no'} | {p.why} |"
        for p in found
    )
    return head + "\n".join(rows) + "\n"


def as_dicts(found: list[Point]) -> list[dict[str, Any]]:
    """For JSON."""
    return [asdict(p) for p in found]

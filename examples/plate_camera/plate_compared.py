"""What the plan is compared with: all on the camera, all on the server, the same cut in floating point."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from plate_curve import Point
from plate_live import Asked, Timed
from plate_pictures import Scene
from plate_pipeline import Pipeline, Way
from plate_planning import Choosing, uniform, with_narrow, with_wire
from plate_scores import Reading, Score

from isthmus.codec.huffman import SUFFIX
from isthmus.graph import INPUT, OUTPUT, cut_at
from isthmus.plan import PLANNERS, Plan, Problem
from isthmus.plan.solution import Solution
from isthmus.plan.splits import priced_solution, without_memory

JPEGS = (90, 75, 50)
_WIRES = (2, 3, 4, 6, 8)
_CURVES = {"JPEG": ("jpeg", (10, 20, 30, 50, 75, 90)), "WebP": ("webp", (5, 20, 50, 75, 90))}


@dataclass(frozen=True)
class Candidate:
    """A way that is compared, its name in the table and in pictures, as the planner prices it, and a plan to pack."""

    name: str
    short: str
    solution: Solution
    plan: Plan

    @property
    def asked(self) -> Asked:
        """What a live run needs."""
        return Asked(Way.of(self.solution), self.plan)


@dataclass(frozen=True)
class Compared:
    """A row of the table. `score`, `found` and `sent_bytes` are of all test pictures, run in one process; `live` is of
    the requests over the link. `same`: share of the live requests whose readings are those of the one process."""

    candidate: Candidate
    score: Score
    found: tuple[tuple[Reading, ...], ...]
    sent_bytes: float
    live: Timed | None = None
    same: float | None = None


def candidates(choosing: Choosing, narrow: Mapping[str, float]) -> Iterator[Candidate]:
    """The plan and what it is compared with, in the order of the table. `narrow`: as in `best`."""
    problem = choosing.problem
    on_server = PLANNERS["server_only"](problem)
    eight = PLANNERS["u8"](without_memory(with_narrow(problem, narrow[OUTPUT])))
    fits = uniform(problem, OUTPUT, 8).fits
    small = eight.solutions[0].model_copy(update={"fits": fits})
    yield Candidate("camera, floating point", "camera, float", uniform(problem, OUTPUT, 16), on_server)
    yield Candidate("camera, 8 bits", "camera, 8 bits", small, eight)
    yield Candidate("server, raw picture", "raw upload", upload(problem, "int8"), on_server)
    for quality in JPEGS:
        sent = upload(problem, f"jpeg:{quality}")
        yield Candidate(f"server, JPEG {quality}", f"JPEG {quality}", sent, on_server)
    picked = choosing.picked
    if picked.cut not in (INPUT, OUTPUT):
        yield Candidate("split, floating point", "split, float", uniform(problem, picked.cut, 16), on_server)
    yield Candidate("**Auto-Split**", "Auto-Split", picked, choosing.plan)


def upload(problem: Problem, codec: str) -> Solution:
    """The picture sent with this codec, everything on the server."""
    cut = cut_at(problem.graph, INPUT)
    return priced_solution(problem, "server_only", cut, codec, None, widths=(0.0, 0.0, 8.0), distortion=None)


def compared(pipeline: Pipeline, candidate: Candidate, pictures: Sequence[Scene]) -> Compared:
    """A candidate on labelled pictures, in one process."""
    judged = pipeline.judged(Way.of(candidate.solution), pictures)
    return Compared(candidate, judged.score, judged.found, judged.sent_bytes)


def with_live(row: Compared, live: Timed) -> Compared:
    """With what was measured over the link, on the first of the same pictures."""
    pairs = list(zip(live.answered.found, row.found, strict=False))
    same = sum(_texts(a) == _texts(b) for a, b in pairs) / len(pairs)
    return replace(row, live=live, same=same)


def _texts(found: Sequence[Reading]) -> list[str]:
    return [reading.plate.text for reading in found]


def ways_to_send(
    pipeline: Pipeline, problem: Problem, cut: str, pictures: Sequence[Scene]
) -> Mapping[str, list[Point]]:
    """Characters read by bytes sent: the head at 8 bits with every width of what crosses, and pictures."""
    name = f"cut after {cut}, Huffman-coded"
    found: dict[str, list[Point]] = {name: []}
    for bits in _WIRES:
        judged = pipeline.judged(Way(cut, f"int{bits}{SUFFIX}", with_wire(problem, cut, bits)), pictures)
        found[name].append(Point(judged.sent_bytes, judged.score.characters, f"{bits} bits"))
    for name, (kind, qualities) in _CURVES.items():
        answers = [(q, pipeline.judged(Way(INPUT, f"{kind}:{q}"), pictures)) for q in qualities]
        found[name] = [Point(a.sent_bytes, a.score.characters, str(q)) for q, a in answers]
    return found

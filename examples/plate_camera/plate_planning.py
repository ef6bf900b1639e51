"""Which way for this camera and this uplink: Auto-Split's list of solutions, its losses measured on labelled pictures.

The planner estimates what a solution loses from its distortion. Where pictures with labels are at hand that need not
be: the fastest is measured, then the next, until the fastest is known that loses no more than it may.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from statistics import median

from plate_pictures import Scene, network_input
from plate_pipeline import Pipeline, Way
from plate_scores import Score

from isthmus.codec import picture_names
from isthmus.codec.huffman import SUFFIX
from isthmus.errors import BadModel
from isthmus.graph import INPUT, OUTPUT, cut_at, graph_of
from isthmus.link import Link
from isthmus.plan import PLANNERS, Limits, Plan, Problem, problem_for
from isthmus.plan.joint import joint, splits_for
from isthmus.plan.losses import to_measure
from isthmus.plan.solution import Solution
from isthmus.plan.splits import priced_solution
from isthmus.profile import Profile
from isthmus.profile.measure import CODECS, Measuring, measure
from isthmus.quant import BitPlan
from isthmus.units import rate_bps, seconds, show_seconds, size_bytes

UPLOADS = ("int8", "float32", *(name for name in picture_names() if name.startswith("jpeg")))
"""How a picture may be sent instead. Cameras write JPEG in hardware; WebP is another matter (at 20 × slower, 0.2 s)."""
REST_S = 0.02
"""Pause before what is timed: both machines wait for the link between requests, and a part that is run now and then
takes up to twice as long as the same part over and over."""
CODED = ("int2", "int3", "int4")
"""Widths that may be sent Huffman-coded."""
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Setting:
    """The camera and its uplink. `slowdown`: how much slower than this machine the camera computes (declared, not
    measured on one); `memory`: what it has for the network; `loss`: boxes or characters that may be given up."""

    slowdown: float = 10.0
    up: str = "1Mbit"
    down: str = "4Mbit"
    rtt: str = "20ms"
    memory: str = "192KiB"
    loss: float = 0.01

    @property
    def link(self) -> Link:
        """The uplink."""
        return Link(rate_bps(self.up), rate_bps(self.down), seconds(self.rtt))

    @property
    def limits(self) -> Limits:
        """What a plan must respect."""
        return Limits(home_memory_bytes=size_bytes(self.memory), loss=self.loss)


@dataclass
class Known:
    """What was measured and what a plan hangs on. here: the seconds of every part of the network on this machine.
    narrow: cut → how many times its float time the part before it takes with 8 bits. coded: (cut, codec) → bytes of a
    Huffman-coded picture. losses: name of a solution → what it loses; more are added as plans ask for them."""

    here: Profile
    narrow: dict[str, float]
    coded: dict[tuple[str, str], float]
    losses: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Choosing:
    """A problem, a plan for it, and the row of its list that it picked."""

    problem: Problem
    plan: Plan
    picked: Solution


def known(pipeline: Pipeline, setting: Setting, cut: str, pictures: Sequence[Scene], *, runs: int = 5) -> Known:
    """Measure here what plans hang on; `cut` is the narrow place."""
    codecs = (*CODECS, *(f"{name}{SUFFIX}" for name in CODED), *UPLOADS[2:])
    how = Measuring((1,), runs, codecs, rest_s=REST_S)
    here = measure(pipeline.engine, how, taken=time.strftime("%Y-%m-%d"), clock=time.perf_counter)
    found = Known(here, {}, {})
    problem = problem_of(pipeline, found, setting)
    found.narrow.update({end: narrowness(pipeline, problem, end, pictures, 6 * runs) for end in (cut, OUTPUT)})
    for name in CODED:
        way = Way(cut, f"{name}{SUFFIX}", with_wire(problem, cut, int(name.removeprefix("int"))))
        found.coded[cut, way.codec] = pipeline.judged(way, pictures).sent_bytes
    return found


def problem_of(pipeline: Pipeline, measured: Known, setting: Setting, *, narrow: float = 1.0) -> Problem:
    """The question, for a camera `setting.slowdown` times slower than this machine. Cameras write JPEG in hardware, so
    what codecs take there is not slowed: this favours uploads. `narrow`: as in `isthmus plan --narrow`."""
    here = measured.here
    faster = {
        name: timing.model_copy(update={key: value / setting.slowdown for key, value in timing.model_dump().items()})
        for name, timing in here.codecs.items()
    }
    machine = here.machine.model_copy(update={"slowdown": setting.slowdown})
    problem = problem_for(
        graph_of(pipeline.net, 1),
        here.model_copy(update={"machine": machine, "codecs": faster}),
        here,
        setting.link,
        codecs={INPUT: UPLOADS},
        default_codecs=("float32", "float16", *(codec for _, codec in measured.coded)),
        limits=setting.limits,
    )
    jpeg = {name: upload for name, upload in pipeline.tables.uploads.items() if name in UPLOADS}
    tables = pipeline.tables.model_copy(update={"uploads": jpeg})
    return replace(with_narrow(problem, narrow), distortions=tables, sample_bytes=measured.coded)


def with_narrow(problem: Problem, factor: float) -> Problem:
    """The same problem where few bits take this many times the camera's float time."""
    device, server = problem.machines
    return replace(problem, machines=(replace(device, narrow=factor), server))


def best(
    pipeline: Pipeline, measured: Known, setting: Setting, pictures: Sequence[Scene], tell: Tell = print
) -> Choosing:
    """The fastest choice of Auto-Split for this setting. The planner knows one factor for the time with few bits, while
    the head's and the whole network's differ: it is asked with each, and what it picks is priced with the
    factor of its own cut. Raises NoPlan where nothing is within the limits."""
    found = []
    for factor in measured.narrow.values():
        made = chosen(pipeline, problem_of(pipeline, measured, setting, narrow=factor), measured.losses, pictures, tell)
        found.append(priced_at(made, measured.narrow.get(made.picked.cut, factor)))
    return min(found, key=lambda made: made.picked.total_s)


def priced_at(made: Choosing, factor: float) -> Choosing:
    """The same choice where few bits take this many times the camera's float time."""
    problem, old = with_narrow(made.problem, factor), made.picked
    widths = (old.weight_bits, old.activation_bits, old.wire_bits)
    new = priced_solution(
        problem, old.planner, cut_at(problem.graph, old.cut), old.codec, old.bits, weight_bytes=old.weight_bytes,
        activation_bytes=old.activation_bytes, widths=widths, distortion=old.distortion,
    )  # fmt: skip
    seconds = {name: getattr(new, name) for name in ("total_s", "device_s", "link_s", "server_s")}
    return Choosing(problem, made.plan, old.model_copy(update=seconds))


def chosen(
    pipeline: Pipeline, problem: Problem, losses: dict[str, float], pictures: Sequence[Scene], tell: Tell
) -> Choosing:
    """Auto-Split's plan, with what its proposals lose on these pictures: the fastest first, until it is known which is
    the fastest that loses no more than it may. Raises NoPlan where none is."""
    whole = pipeline.judged(Way(OUTPUT), pictures).score
    found = joint(problem).with_losses(replace(problem, losses=losses))
    while (wanted := next(to_measure(found.solutions, problem.limits.loss or 0.0), None)) is not None:
        losses[wanted.name] = loss_of(pipeline, wanted, pictures, whole)
        tell(f"{wanted.name}: {show_seconds(wanted.total_s)}, loses {losses[wanted.name]:.2%}")
        found = found.with_losses(replace(problem, losses=losses))
    plan = PLANNERS["autosplit"](replace(problem, losses=losses))
    picked = next(s for s in plan.solutions if (s.cut, s.codec, s.bits) == (plan.cuts[0], plan.codec, plan.bits))
    return Choosing(problem, plan, picked)


def loss_of(pipeline: Pipeline, solution: Solution, pictures: Sequence[Scene], whole: Score) -> float:
    """What a solution loses on these pictures; what is gained by chance is no loss. All, where a head cannot be
    written: behind the sampler a picture is three plates, and no head ends there."""
    try:
        return max(0.0, pipeline.judged(Way.of(solution), pictures).score.lost(whole))
    except BadModel:
        return 1.0


def uniform(problem: Problem, cut: str, bits: int) -> Solution:
    """One width for everything up to a cut (16: floating point), priced; memory limits are told, not kept."""
    splits = splits_for(problem, f"u{bits}", cut_at(problem.graph, cut))
    widths = splits.uniform(len(splits.storage.heads) - 1, bits)
    made = splits.solution(widths, f"u{bits}")
    return made.model_copy(update={"fits": splits.fits(widths)})


def with_wire(problem: Problem, cut: str, bits: int) -> BitPlan:
    """The head up to a cut with 8 bits throughout, but for what crosses."""
    eight = uniform(problem, cut, 8).bits
    assert eight is not None
    crossing = dict.fromkeys(cut_at(problem.graph, cut).crossing, bits)
    return BitPlan(weights=eight.weights, outputs={**eight.outputs, **crossing})


def narrowness(pipeline: Pipeline, problem: Problem, cut: str, pictures: Sequence[Scene], rounds: int) -> float:
    """How long the network up to a cut takes with 8 bits beside floating point: in turns, medians.
    Runtimes gain from 8 bits on wide layers and on processors made for it; this head has 8 to 24 channels."""
    bits = uniform(problem, cut, 8).bits
    assert bits is not None
    quantised, _ = pipeline.few_bits(cut, bits)
    narrow, plain = [], []
    for k in range(rounds):
        inputs = {"image": network_input(pictures[k % len(pictures)].pixels)}
        narrow.append(_seconds(partial(quantised.whole, inputs)))
        plain.append(_seconds(partial(pipeline.engine.head, cut, inputs)))
    return median(narrow) / median(plain)


def _seconds(call: Callable[[], object]) -> float:
    time.sleep(REST_S)
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun

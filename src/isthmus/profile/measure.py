"""Timing a model on the machine at hand: whole, every ready head and tail, every node, every codec.

Heads and tails are built and run, not guessed: building a pair costs milliseconds, and sums of node times are 5–50 %
off. All parts are timed once a round, round after round: a slow moment of the machine then costs each part one sample
of several, which the low quantile forgives, and not one part all of its samples. The whole network, which every plan
is compared with, is timed several times a round, among the cuts: timed once, its few samples of a machine whose speed
wanders by a tenth within a tenth of a second told 10.5 ms of a network that took 12.3.
"""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from isthmus.codec import Array, PictureScale, make_codec
from isthmus.engine import RUNTIME, Engine, has_vnni, node_times
from isthmus.errors import BadInput
from isthmus.graph import INPUT, OUTPUT, Cut, Graph, at_exit, cut_at, graph_of
from isthmus.model.types import Progress
from isthmus.profile.fit import fit_parts
from isthmus.profile.types import BatchProfile, CodecTiming, Machine, Profile, RawTimes, RuntimeMemory, Timing
from isthmus.units import MOST_BATCH, slow_down

Clock = Callable[[], float]
Rest = Callable[[], None]
T = TypeVar("T")

CODECS = ("float32", "float16", "int8", "int6", "int4", "int3", "int2")
_CUTS_A_WHOLE = 8
"""The whole network is timed before so many cuts of a round, a tenth more work, and before the next so many."""
_CODEC_SHAPES = ((1, 64, 8, 8), (1, 2048, 8, 8))
"""Two sizes, from which a fixed part and a part per element follow."""
_PICTURE_SHAPES = ((1, 3, 64, 64), (1, 3, 224, 224))


@dataclass(frozen=True)
class Measuring:
    """How to measure. `runs` per part and batch; `slowdown` is written into the profile, not slept. `rest_s`: a pause
    before every part, for a machine whose speed depends on what it did before (a processor quota, heat) and that will
    be asked now and then. `cuts`: ids of the only cuts to measure; all that the engine keeps ready where it is None.
    `exits`: time what each early exit needs too, where the network has several outputs."""

    batches: tuple[int, ...] = (1,)
    runs: int = 8
    codecs: tuple[str, ...] = CODECS
    slowdown: float = 1.0
    machine: str = ""
    rest_s: float = 0.0
    cuts: tuple[str, ...] | None = None
    exits: bool = False

    def __post_init__(self) -> None:
        if not self.batches or min(self.batches) < 1 or max(self.batches) > MOST_BATCH:
            raise BadInput(f"batch sizes must be 1 to {MOST_BATCH}, not {self.batches}")
        if self.runs < 1:
            raise BadInput(f"a profile needs at least one run, not {self.runs}")
        slow_down(self.slowdown)
        if not 0 <= self.rest_s <= 60:
            raise BadInput(f"a rest before each part takes 0 to 60 s, not {self.rest_s}")


def measure(
    engine: Engine,
    how: Measuring,
    *,
    taken: str,
    clock: Clock,
    sleep: Callable[[float], None] = time.sleep,
    progress: Progress | None = None,
    resume: Profile | None = None,
    checkpoint: Callable[[Profile], None] | None = None,
) -> Profile:
    """A profile of `engine`'s model here.

    `taken` is the date to write into it. `resume` is an incomplete profile of the same model and machine: what it holds
    is not measured again. `checkpoint` is called with the profile so far after every cut.
    """
    profile = _start(engine, how, taken, resume)
    rest = partial(sleep, how.rest_s) if how.rest_s else _no_rest
    work = [(piece, batch) for piece in _pieces(engine, how) for batch in how.batches]
    total = len(work) * how.runs + 1
    for at, (piece, batch) in enumerate(work):
        for rounds, part in _measure_batch(piece, batch, how.runs, clock, rest, profile):
            profile = piece.noted(profile, batch, part)
            if progress is not None:
                progress(at * how.runs + rounds, total, piece.named(batch))
            if checkpoint is not None:
                checkpoint(profile)
    codecs = measure_codecs(how.codecs, how.runs, clock, rest)
    profile = profile.model_copy(update={"codecs": codecs, "complete": True})
    if progress is not None:
        progress(total, total, "codecs")
    return profile


def measure_codecs(names: Sequence[str], runs: int, clock: Clock, rest: Rest | None = None) -> dict[str, CodecTiming]:
    """Seconds to write and read with each codec, from tensors of two sizes: standard-normal float32, and for picture
    codecs pictures. With `rest`, called before each run, medians count instead of low quantiles (`Profile.rest_s`)."""
    found = {}
    for name in names:
        scale = PictureScale((0.5,) * 3, (0.25,) * 3) if ":" in name else None
        codec = make_codec(name, picture=scale)
        small, large = _PICTURE_SHAPES if scale else _CODEC_SHAPES
        cells = []
        for shape in (small, large):
            x = _picture(shape) if scale else np.random.default_rng(0).standard_normal(shape).astype(np.float32)
            payload = memoryview(codec.dump(x))
            calls = (partial(codec.dump, x), partial(codec.load, payload, x.shape, "float32"))
            timings = [time_call(call, 5 * runs, clock, rest or _no_rest) for call in calls]
            cells.append([t.low_s if rest in (None, _no_rest) else t.median_s for t in timings])
        span = math.prod(large) - math.prod(small)
        encode_slope, decode_slope = (max(0.0, (cells[1][i] - cells[0][i]) / span) for i in (0, 1))
        found[name] = CodecTiming(
            fixed_s=max(0.0, min(cells[0][0] - encode_slope * math.prod(small), cells[0][1])),
            encode_s_per_element=encode_slope,
            decode_s_per_element=decode_slope,
        )
    return found


def _picture(shape: tuple[int, ...]) -> Array:
    """Waves with a little noise: about as hard to write as a photograph."""
    _, _, height, width = shape
    y, x = np.mgrid[0:height, 0:width] * 0.1
    waves = np.stack([np.sin(x + c) * np.cos(y * (1 + c)) for c in range(3)])[None]
    noise = np.random.default_rng(0).standard_normal(shape)
    return (waves + 0.15 * noise).astype(np.float32)


def time_call(call: Callable[[], object], runs: int, clock: Clock, rest: Rest | None = None) -> Timing:
    """Seconds of `call`, once to warm up and then `runs` times, `rest` called before each."""
    call()
    return timing_of([_once(call, clock, rest or _no_rest)[0] for _ in range(runs)])


def time_in_turns(
    calls: Sequence[Callable[[], object]], runs: int, clock: Clock, rest: Rest | None = None
) -> list[Timing]:
    """Seconds of each of these calls, one after the other and round after round, so that a slow moment of the machine
    is no call's own; once to warm up and then `runs` times, `rest` called before each."""
    for call in calls:
        call()
    rounds = [[_once(call, clock, rest or _no_rest)[0] for call in calls] for _ in range(runs)]
    return [timing_of(seconds) for seconds in zip(*rounds, strict=True)]


def timing_of(seconds: Sequence[float]) -> Timing:
    """Spread of repeated measurements. `low_s` is the mean of the fastest fifth: robust on a noisy machine, and not as
    lucky as the single minimum."""
    ordered = np.sort(np.asarray(seconds))
    fifth = ordered[: max(1, len(ordered) // 5)]
    return Timing(
        low_s=float(fifth.mean()),
        median_s=float(np.median(ordered)),
        high_s=float(np.quantile(ordered, 0.9)),
        runs=len(ordered),
    )


def machine_here(name: str, threads: int, slowdown: float = 1.0) -> Machine:
    """This machine, as profiles name it; its own name where `name` is empty."""
    return Machine(
        name=name or platform.node() or "here",
        cpu=_cpu_name(),
        system=f"{platform.system()} {platform.release()}",
        runtime=RUNTIME,
        threads=threads,
        slowdown=slowdown,
    )


def _start(engine: Engine, how: Measuring, taken: str, resume: Profile | None) -> Profile:
    machine = machine_here(how.machine, engine.threads, how.slowdown)
    fresh = Profile(
        model=engine.model.name,
        fingerprint=engine.model.fingerprint,
        machine=machine,
        taken=taken,
        batches={},
        complete=False,
        rest_s=how.rest_s,
        memory=RuntimeMemory(signed=has_vnni()),
    )
    if resume is None:
        return fresh
    if (resume.fingerprint, resume.machine, resume.rest_s) != (fresh.fingerprint, machine, how.rest_s):
        raise BadInput(
            "the profile to resume is of another model, another machine or another rest; give a new --out or delete it"
        )
    return resume.model_copy(update={"complete": False})


def _inner(engine: Engine, how: Measuring) -> tuple[Cut, ...]:
    """The cuts to measure. Raises BadInput for one that does not cut the network in two."""
    chosen = engine.cuts if how.cuts is None else [cut_at(engine.graph, name) for name in how.cuts]
    return tuple(c for c in chosen if c.id not in (INPUT, OUTPUT))


@dataclass(frozen=True)
class _Piece:
    """What is timed: the whole network, or the part of it that the exit `output` needs; and at which cuts."""

    engine: Engine
    cuts: tuple[Cut, ...]
    output: str = ""

    def known(self, profile: Profile) -> Mapping[int, BatchProfile]:
        """What a profile says of it."""
        return profile.exits.get(self.output, {}) if self.output else profile.batches

    def noted(self, profile: Profile, batch: int, part: BatchProfile) -> Profile:
        """The profile with this said of it."""
        batches = {**self.known(profile), batch: part}
        change = {"exits": {**profile.exits, self.output: batches}} if self.output else {"batches": batches}
        return profile.model_copy(update=change)

    def graph(self, batch: int) -> Graph:
        """Its graph at a batch size."""
        whole = graph_of(self.engine.model, batch)
        return at_exit(whole, self.output) if self.output else whole

    def named(self, batch: int) -> str:
        """For the progress bar."""
        return f"{self.output} batch {batch}" if self.output else f"batch {batch}"


def _pieces(engine: Engine, how: Measuring) -> list[_Piece]:
    """The whole network, and its exits where they are asked for and are more than one."""
    pieces = [_Piece(engine, _inner(engine, how))]
    if how.exits and len(engine.graph.outputs) > 1:
        for output in engine.graph.outputs:
            part = engine.at_exit(output)
            pieces.append(_Piece(part, tuple(c for c in part.cuts if c.id not in (INPUT, OUTPUT)), output))
    return pieces


def _measure_batch(
    piece: _Piece, batch: int, runs: int, clock: Clock, rest: Rest, profile: Profile
) -> Iterator[tuple[int, BatchProfile]]:
    """(rounds done, what is known then); the last one has the fits and no raw times."""
    engine, cuts = piece.engine, piece.cuts
    before = piece.known(profile).get(batch)
    if before is not None and before.raw is None:
        return
    inputs = engine.model.random_inputs(batch)
    raw = RawTimes() if before is None or before.raw is None else before.raw
    nodes = before.nodes if before is not None else node_times(engine, inputs, runs)
    _round(engine, cuts, inputs, clock, _no_rest, RawTimes())  # warms everything up
    while _rounds(raw) < runs:
        raw = _round(engine, cuts, inputs, clock, rest, raw)
        yield _rounds(raw), _summed_up(raw, nodes)
    part = _summed_up(raw, nodes)
    graph = piece.graph(batch)
    heads, tails = ({k: profile.typical_s(t) for k, t in ts.items()} for ts in (part.heads, part.tails))
    fits = {
        "head_fit": fit_parts(graph, cuts, heads, part.nodes, heads=True),
        "tail_fit": fit_parts(graph, cuts, tails, part.nodes, heads=False),
    }
    yield runs, part.model_copy(update={**fits, "raw": None})


def _round(
    engine: Engine, cuts: Sequence[Cut], inputs: Mapping[str, Array], clock: Clock, rest: Rest, raw: RawTimes
) -> RawTimes:
    """Everything once more, the whole network also on the way."""
    whole = [*raw.whole, _once(partial(engine.whole, inputs), clock, rest)[0]]
    heads, tails = dict(raw.heads), dict(raw.tails)
    for at, cut in enumerate(cuts):
        if at and at % _CUTS_A_WHOLE == 0:
            whole.append(_once(partial(engine.whole, inputs), clock, rest)[0])
        head_s, made = _once(partial(engine.head, cut.id, inputs), clock, rest)
        tail_s, _ = _once(partial(engine.tail, cut.id, made), clock, rest)
        heads[cut.id] = (*heads.get(cut.id, ()), head_s)
        tails[cut.id] = (*tails.get(cut.id, ()), tail_s)
    return RawTimes(whole=tuple(whole), heads=heads, tails=tails)


def _rounds(raw: RawTimes) -> int:
    """How many were done."""
    return min((len(seconds) for seconds in raw.heads.values()), default=len(raw.whole))


def _summed_up(raw: RawTimes, nodes: Mapping[str, float]) -> BatchProfile:
    return BatchProfile(
        whole=timing_of(raw.whole),
        heads={k: timing_of(v) for k, v in raw.heads.items()},
        tails={k: timing_of(v) for k, v in raw.tails.items()},
        nodes=dict(nodes),
        raw=raw,
    )


def _once(call: Callable[[], T], clock: Clock, rest: Rest) -> tuple[float, T]:
    """Seconds, and what came of it."""
    rest()
    start = clock()
    made = call()
    return clock() - start, made


def _no_rest() -> None:
    """One part after the other."""


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Hardware", "Model"))]
    return names[0] if names else platform.machine()

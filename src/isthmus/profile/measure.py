"""Timing a model on the machine at hand: whole, every ready head and tail, every node, every codec.

Heads and tails are built and run, not guessed: building a pair costs milliseconds, and sums of node times are 5–50 %
off. All parts are timed once a round, round after round: a slow moment of the machine then costs each part one sample
of several, which the low quantile forgives, and not one part all of its samples.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from isthmus.codec import Array, make_codec
from isthmus.engine import Engine, node_times
from isthmus.errors import BadInput
from isthmus.graph import INPUT, OUTPUT, Cut, graph_of
from isthmus.profile.fit import fit_parts
from isthmus.profile.types import BatchProfile, CodecTiming, Machine, Profile, RawTimes, Timing

Clock = Callable[[], float]
Progress = Callable[[int, int, str], None]
"""Called with (done, of, what)."""

_CODEC_ELEMENTS = (4_096, 131_072)
"""Two sizes, from which a fixed part and a part per element follow."""


@dataclass(frozen=True)
class Measuring:
    """How to measure. `runs` per part and batch; `slowdown` is written into the profile, not slept."""

    batches: tuple[int, ...] = (1,)
    runs: int = 8
    codecs: tuple[str, ...] = ("float32", "float16", "int8", "int6", "int4", "int3", "int2")
    slowdown: float = 1.0
    machine: str = ""

    def __post_init__(self) -> None:
        if not self.batches or min(self.batches) < 1:
            raise BadInput(f"batch sizes must be at least 1, not {self.batches}")
        if self.runs < 1:
            raise BadInput(f"a profile needs at least one run, not {self.runs}")
        if not 0 < self.slowdown < float("inf"):
            raise BadInput(f"a slow-down is a number above zero, not {self.slowdown}")


def measure(
    engine: Engine,
    how: Measuring,
    *,
    taken: str,
    clock: Clock,
    progress: Progress | None = None,
    resume: Profile | None = None,
    checkpoint: Callable[[Profile], None] | None = None,
) -> Profile:
    """A profile of `engine`'s model here.

    `taken` is the date to write into it. `resume` is an incomplete profile of the same model and machine: what it holds
    is not measured again. `checkpoint` is called with the profile so far after every cut.
    """
    profile = _start(engine, how, taken, resume)
    inner = [c for c in engine.cuts if c.id not in (INPUT, OUTPUT)]
    total = len(how.batches) * how.runs + 1
    for at, batch in enumerate(how.batches):
        for rounds, part in _measure_batch(engine, inner, batch, how.runs, clock, profile.batches.get(batch)):
            profile = profile.model_copy(update={"batches": {**profile.batches, batch: part}})
            if progress is not None:
                progress(at * how.runs + rounds, total, f"batch {batch}")
            if checkpoint is not None:
                checkpoint(profile)
    profile = profile.model_copy(update={"codecs": measure_codecs(how.codecs, how.runs, clock), "complete": True})
    if progress is not None:
        progress(total, total, "codecs")
    return profile


def measure_codecs(names: Sequence[str], runs: int, clock: Clock) -> dict[str, CodecTiming]:
    """Seconds to write and read with each codec, from two sizes of a standard-normal float32 tensor."""
    rng = np.random.default_rng(0)
    found = {}
    for name in names:
        codec = make_codec(name)
        cells = []
        for elements in _CODEC_ELEMENTS:
            x: Array = rng.standard_normal((1, elements // 64, 8, 8)).astype(np.float32)
            payload = memoryview(codec.dump(x))
            encode = time_call(lambda c=codec, v=x: c.dump(v), 5 * runs, clock)  # type: ignore[misc]
            decode = time_call(lambda c=codec, p=payload, v=x: c.load(p, v.shape, "float32"), 5 * runs, clock)  # type: ignore[misc]
            cells.append((encode.low_s, decode.low_s))
        span = _CODEC_ELEMENTS[1] - _CODEC_ELEMENTS[0]
        encode_slope, decode_slope = (max(0.0, (cells[1][i] - cells[0][i]) / span) for i in (0, 1))
        found[name] = CodecTiming(
            fixed_s=max(0.0, min(cells[0][0] - encode_slope * _CODEC_ELEMENTS[0], cells[0][1])),
            encode_s_per_element=encode_slope,
            decode_s_per_element=decode_slope,
        )
    return found


def time_call(call: Callable[[], object], runs: int, clock: Clock) -> Timing:
    """Seconds of `call`, once to warm up and then `runs` times."""
    call()
    return timing_of([_once(call, clock) for _ in range(runs)])


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


def _start(engine: Engine, how: Measuring, taken: str, resume: Profile | None) -> Profile:
    machine = Machine(
        name=how.machine or platform.node() or "here",
        cpu=_cpu_name(),
        system=f"{platform.system()} {platform.release()}",
        runtime=engine.runtime,
        threads=engine.threads,
        slowdown=how.slowdown,
    )
    fresh = Profile(
        model=engine.model.name,
        fingerprint=engine.model.fingerprint,
        machine=machine,
        taken=taken,
        batches={},
        complete=False,
    )
    if resume is None:
        return fresh
    if resume.fingerprint != fresh.fingerprint or resume.machine != machine:
        raise BadInput("the profile to resume is of another model or another machine; give a new --out or delete it")
    return resume.model_copy(update={"complete": False})


def _measure_batch(
    engine: Engine, cuts: Sequence[Cut], batch: int, runs: int, clock: Clock, before: BatchProfile | None
) -> Iterator[tuple[int, BatchProfile]]:
    """(rounds done, what is known then); the last one has the fits and no raw times."""
    if before is not None and before.raw is None:
        return
    inputs = engine.model.random_inputs(batch)
    raw = RawTimes() if before is None or before.raw is None else before.raw
    nodes = before.nodes if before is not None else node_times(engine, inputs, runs)
    _round(engine, cuts, inputs, clock, RawTimes())  # warms everything up
    while len(raw.whole) < runs:
        raw = _round(engine, cuts, inputs, clock, raw)
        yield len(raw.whole), _summed_up(raw, nodes)
    part = _summed_up(raw, nodes)
    graph = graph_of(engine.model, batch)
    fits = {
        "head_fit": fit_parts(graph, cuts, part.heads, part.nodes, heads=True),
        "tail_fit": fit_parts(graph, cuts, part.tails, part.nodes, heads=False),
    }
    yield runs, part.model_copy(update={**fits, "raw": None})


def _round(engine: Engine, cuts: Sequence[Cut], inputs: Mapping[str, Array], clock: Clock, raw: RawTimes) -> RawTimes:
    """Everything once more."""
    whole = _once(lambda: engine.whole(inputs), clock)
    heads, tails = dict(raw.heads), dict(raw.tails)
    for cut in cuts:
        start = clock()
        made = engine.head(cut.id, inputs)
        middle = clock()
        engine.tail(cut.id, made)
        heads[cut.id] = (*heads.get(cut.id, ()), middle - start)
        tails[cut.id] = (*tails.get(cut.id, ()), clock() - middle)
    return RawTimes(whole=(*raw.whole, whole), heads=heads, tails=tails)


def _summed_up(raw: RawTimes, nodes: Mapping[str, float]) -> BatchProfile:
    return BatchProfile(
        whole=timing_of(raw.whole),
        heads={k: timing_of(v) for k, v in raw.heads.items()},
        tails={k: timing_of(v) for k, v in raw.tails.items()},
        nodes=dict(nodes),
        raw=raw,
    )


def _once(call: Callable[[], object], clock: Clock) -> float:
    start = clock()
    call()
    return clock() - start


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Hardware", "Model"))]
    return names[0] if names else platform.machine()

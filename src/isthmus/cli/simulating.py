"""What `isthmus simulate` is told, as values: tables, a trace, a world, requests."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from isthmus.bundle import open_bundle
from isthmus.bundle.folder import is_bundle
from isthmus.cli.computing import computed
from isthmus.cli.machines import read_profile, slowed
from isthmus.cli.planning import codecs_of, features_only
from isthmus.errors import BadInput
from isthmus.graph import INPUT, OUTPUT, graph_of
from isthmus.link import Link, Trace, read_trace, steps
from isthmus.model import Model, load_model
from isthmus.plan import CostTable, Limits, Problem, cost_table, problem_for
from isthmus.plan.types import Exit
from isthmus.profile import Profile
from isthmus.record import Batching
from isthmus.session import problem_of, tables_of
from isthmus.simulate import Away, Others, Requests
from isthmus.units import rate_bps, seconds

_STEPS = re.compile(r"^[^/\\]*\d[^/\\]*:\s*\d[^/\\]*$")
"""20Mbit:10s,1Mbit:5s and not a path"""


@dataclass(frozen=True)
class Subject:
    """What is simulated: tables and planning problems by batch size, the names for a journal's header, and the exits
    that a bundle holds."""

    tables: dict[int, CostTable]
    problems: dict[int, Problem]
    model: str
    fingerprint: str
    device: str
    server: str
    exits: tuple[Exit, ...] = ()

    @property
    def cut_order(self) -> tuple[str, ...]:
        """Cut ids from input to output."""
        return tuple(dict.fromkeys(next(iter(self.tables.values())).cuts))


@dataclass(frozen=True)
class Machine:
    """How one machine is given: a profile's file, or a device known by its figures."""

    role: str
    profile: Path | None
    name: str | None

    def read(self, model: Model, batches: Sequence[int]) -> Profile:
        """Its profile. Raises BadInput where it is given twice or not at all."""
        if self.profile is not None and self.name is not None:
            raise BadInput(f"give --{self.role} or --{self.role}-profile, not both")
        if self.name is not None:
            return computed(model, self.name, batches)
        if self.profile is None:
            raise BadInput(
                f"a simulation measures nothing: give the {self.role}'s profile (--{self.role}-profile FILE, made by "
                f"isthmus profile), a device known by its figures (--{self.role} NAME), or a bundle"
            )
        return read_profile(self.role, self.profile, model)


def subject_of(
    what: str,
    batches: Sequence[int],
    device: Machine,
    server: Machine,
    slowdown: float,
    codecs: str,
    *,
    limits: Limits,
    link: Link,
    server_first: bool = False,
) -> Subject:
    """A bundle's own tables, or those of a model with the profiles given; `server_first`: in that order."""
    if is_bundle(what):
        bundle = open_bundle(Path(what))
        for machine in (device, server):
            if machine.profile is not None or machine.name is not None:
                raise BadInput(f"the bundle {what} holds both profiles: leave --{machine.role} out, or name its model")
        tables = tables_of(bundle, batches, limits=limits, server_first=server_first)
        problems = {b: problem_of(bundle, batch=b, limits=limits, server_first=server_first) for b in tables}
        names = (
            bundle.manifest.name,
            bundle.manifest.fingerprint,
            bundle.device.machine.name,
            bundle.server.machine.name,
        )
        rows = () if bundle.exits is None else bundle.exits.rows
        return Subject(tables, problems, *names, exits=tuple(Exit(row.output, row.accuracy) for row in rows))
    model = load_model(what)
    near, far = slowed(device.read(model, batches), slowdown), server.read(model, batches)
    problems = {b: _problem(model, b, near, far, codecs_of(codecs), limits=limits, link=link) for b in batches}
    if server_first:
        problems = {b: problem.turned() for b, problem in problems.items()}
    tables = {b: cost_table(problem) for b, problem in problems.items()}
    return Subject(tables, problems, model.name, model.fingerprint, near.machine.name, far.machine.name)


def _problem(
    model: Model, batch: int, device: Profile, server: Profile, codecs: tuple[str, ...], *, limits: Limits, link: Link
) -> Problem:
    """The cuts are those that both profiles have measured, every narrow one where they measured none."""
    measured = [{cut for row in p.batches.values() for cut in row.heads} for p in (device, server)]
    ready = measured[0] & measured[1]
    return problem_for(
        graph_of(model, batch),
        device,
        server,
        link,
        codecs={INPUT: codecs},
        default_codecs=features_only(codecs),
        limits=limits,
        ready=[INPUT, *sorted(ready), OUTPUT] if ready else None,
    )


def is_steps(text: str) -> bool:
    """Is this a trace written by hand (`rate:duration` steps), not a file?"""
    return _STEPS.match(text) is not None and not Path(text).exists()


def trace_of(
    text: str, *, scale: float = 1.0, clip: str = "", part: str = "", loop: bool = False, rate_column: str | None = None
) -> Trace:
    """A trace file, or `rate:duration` steps, cut to `part` (START:END), then scaled, then clipped (LOW:HIGH)."""
    found = steps(text) if is_steps(text) else read_trace(text, rate_column=rate_column)
    if part:
        start, end = _pair(part, "--part", "START:END, as 60s:360s")
        found = found.part(seconds(start or "0"), seconds(end) if end else found.duration_s)
    if scale != 1.0:
        found = found.scaled(scale)
    if clip:
        low, high = _pair(clip, "--clip", "LOW:HIGH, as 100kbit:50Mbit")
        found = found.clipped(rate_bps(low) if low else 0.0, rate_bps(high) if high else float("inf"))
    return found.looped() if loop else found


def others_of(text: str, seed: int) -> Others:
    """`PER_SECOND:WORK`, as 5:40ms."""
    if not text:
        return Others()
    per_s, work = _pair(text, "--others", "PER_SECOND:WORK, as 5:40ms")
    try:
        return Others(float(per_s), seconds(work), seed)
    except ValueError:
        raise BadInput(f"'{per_s}' in --others is no number of requests a second") from None


def away_of(text: str) -> Away:
    """`FROM:TO,…`, as 10s:20s,60s:61s."""
    pairs = [_pair(piece, "--away", "FROM:TO, as 10s:20s") for piece in text.split(",") if piece.strip()]
    return Away(tuple((seconds(start), seconds(end)) for start, end in pairs))


def requests_of(
    sizes: tuple[int, ...], max_batch: int, max_delay: str, every: str, count: int | None, trace: Trace
) -> Requests:
    """So many requests, or as long as the trace lasts; gathered into batches where `max_batch` is above 1."""
    rule = None
    if max_batch > 1:
        if sizes != (1,):
            raise BadInput("--max-batch gathers single samples: leave --batch out")
        rule = Batching(max_batch, seconds(max_delay))
    until_s = trace.duration_s if count is None else None
    return Requests(count=count, until_s=until_s, every_s=seconds(every), batches=sizes, rule=rule)


def file_of(policy: str) -> str:
    """A file's name for a policy's journal."""
    return re.sub(r"[^A-Za-z0-9._@-]+", "_", policy).strip("_") + ".jsonl"


def _pair(text: str, option: str, shape: str) -> tuple[str, str]:
    first, colon, second = text.partition(":")
    if not colon:
        raise BadInput(f"{option} takes {shape}, not '{text}'")
    return first.strip(), second.strip()

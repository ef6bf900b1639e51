"""From a bundle and an address to a session that decides for itself where each request runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from isthmus.adapt import AtExit, EachRequest, Habits, MapChooser, TableChooser
from isthmus.bundle import Bundle, open_bundle
from isthmus.bundle.prices import few_bits_table
from isthmus.engine import Engine, FewBits, PackedParts
from isthmus.errors import BadInput
from isthmus.graph import graph_of
from isthmus.link import Link
from isthmus.model.types import Progress
from isthmus.plan import CostTable, Limits, Problem, configuration_map, cost_table, problem_for
from isthmus.plan.cost import asked_cut
from isthmus.plan.map_types import RewardName
from isthmus.plan.planners.edgent import edgent
from isthmus.plan.types import Exit
from isthmus.plan.uneven import uneven
from isthmus.profile import ExitTable
from isthmus.record import Choice, Chooser, Lateness
from isthmus.record.types import check_chooser
from isthmus.run import Bounds, Mode, Server, Session, StepWriter, connect_engine
from isthmus.run import serve as serve_engine
from isthmus.run.connect import check_deadline
from isthmus.units import MOST_BATCH, is_whole


@dataclass(frozen=True)
class Ready:
    """A bundle opened on this machine, and its engine."""

    bundle: Bundle
    engine: Engine | FewBits

    def checker(self) -> Engine | FewBits:
        """An engine for recomputing answers, which need not take as long as the declared device."""
        if isinstance(self.engine, FewBits):
            return _few_bits(self.bundle, self.engine.threads, 1.0, self._float())
        return self.engine if self.engine.slowdown == 1 else self._float()

    def original(self) -> Engine | None:
        """The network in floating point, where another one answers: what its answers are measured against."""
        return self._float() if isinstance(self.engine, FewBits) else None

    def _float(self) -> Engine:
        return Engine.open(self.bundle.model(), threads=self.engine.threads, cuts="none")


def ready(bundle: str | Path | Bundle, *, threads: int = 1, slowdown: float | None = None) -> Ready:
    """Open a bundle and make its model run here.

    `slowdown` is the declared slow-down of this machine; the default is the one the device profile declares (1 for a
    profile that was measured on the device itself). Raises BadBundle, and BadInput for a slow-down below 1.
    """
    opened = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
    slow = max(1.0, opened.device.machine.slowdown) if slowdown is None else slowdown
    if opened.manifest.few_bits is not None:
        return Ready(opened, _few_bits(opened, threads, slow))
    return Ready(opened, Engine.open(opened.model(), threads=threads, slowdown=slow))


def _few_bits(bundle: Bundle, threads: int, slowdown: float, behind: Engine | None = None) -> FewBits:
    """The device's parts of few bits; the part that is planned is loaded now."""
    row = bundle.manifest.few_bits
    assert row is not None
    parts = {part.cut: bundle.path / part.file for part in row.parts}
    kept = PackedParts(parts, together=row.together)
    engine = FewBits(bundle.model(weights=False), kept, threads=threads, slowdown=slowdown, behind=behind)
    if bundle.plan.cuts[0] in parts:
        engine.warm(bundle.plan.cuts[0])
    return engine


def problem_of(
    bundle: Bundle,
    *,
    batch: int = 1,
    link: Link | None = None,
    limits: Limits | None = None,
    server_first: bool = False,
) -> Problem:
    """The planning problem a bundle holds: its profiles, the link it was packed for (or `link`), its codecs.
    `server_first`: the server runs the part before the cut, the device the rest. Raises BadInput for limits that name a
    node the model does not have."""
    manifest = bundle.manifest
    problem = problem_for(
        graph_of(bundle.model(weights=False), batch),
        bundle.device,
        bundle.server,
        link or manifest.link.link(),
        codecs=manifest.codecs,
        default_codecs=manifest.default_codecs,
        limits=limits,
        ready=manifest.cuts,
        accuracy=manifest.accuracy,
        clipped=bundle.clips,
    )
    return problem.turned() if server_first else problem


def table_of(
    bundle: Bundle,
    *,
    batch: int = 1,
    limits: Limits | None = None,
    exit_at: str | None = None,
    server_first: bool = False,
) -> CostTable:
    """Every ready cut with every codec allowed there, priced for any link and load; `limits`: without those that send
    what these keep at home; `exit_at`: of the part of the network that this exit needs. Raises BadInput for one that is
    none."""
    problem = problem_of(bundle, batch=batch, limits=limits, server_first=server_first)
    few = bundle.manifest.few_bits
    if few is not None and (exit_at is not None or server_first):
        raise BadInput(
            f"{bundle.manifest.name} was packed with few bits for a device that runs first, and all its outputs: "
            "leave the exit and --server-first out"
        )
    if few is not None:
        return few_bits_table(problem, few)
    return cost_table(problem if exit_at is None else problem.at_exit(exit_at))


def sizes_up_to(greatest: int) -> tuple[int, ...]:
    """Batch sizes worth a table each: all up to 16, then steps of an eighth; what lies between is priced in proportion
    to the nearest below."""
    sizes = list(range(1, min(greatest, 16) + 1))
    while sizes and sizes[-1] < greatest:
        sizes.append(min(greatest, sizes[-1] + sizes[-1] // 8))
    return tuple(sizes)


def tables_of(
    bundle: Bundle,
    batches: Iterable[int],
    *,
    limits: Limits | None = None,
    exit_at: str | None = None,
    server_first: bool = False,
) -> dict[int, CostTable]:
    """`table_of` for each of these batch sizes. Sizes that were not profiled lie between those that were. Raises
    BadInput for a size the model does not take."""
    return {
        batch: table_of(bundle, batch=batch, limits=limits, exit_at=exit_at, server_first=server_first)
        for batch in sorted(set(batches))
    }


def right_sizing_of(
    bundle: Bundle,
    *,
    within_s: float | None,
    states_bps: Sequence[float] = (),
    states_spread: Sequence[float] = (),
    seen: Lateness | None = None,
    batch: int = 1,
    server_first: bool = False,
) -> Problem:
    """The planning problem of a bundle whose exits are chosen among, for a latency requirement and these bandwidth
    states, whose rates turn out to be these multiples of them; `seen`: link and machines are as late now and then as a
    run showed (`isthmus.record.late_of`). Raises BadInput for a bundle without exits."""
    if bundle.exits is None:
        raise BadInput(
            f"{bundle.manifest.name} was packed without a table of exits; isthmus pack --exits exits.json brings one"
        )
    problem = replace(
        problem_of(bundle, batch=batch, server_first=server_first),
        exits=tuple(Exit(row.output, row.accuracy) for row in bundle.exits.rows),
        states_bps=tuple(states_bps),
        states_spread=tuple(states_spread),
        limits=Limits(latency_s=within_s),
    )
    return problem if seen is None else uneven(problem, link=seen.link, device=seen.device, server=seen.server)


def map_chooser_of(
    bundle: Bundle,
    *,
    reward: RewardName = "edgent",
    within_s: float,
    states_bps: Sequence[float] = (),
    states_spread: Sequence[float] = (),
    seen: Lateness | None = None,
    batch: int = 1,
    server_first: bool = False,
) -> MapChooser:
    """Edgent's dynamic configurator for a bundle with exits: the configuration map for these bandwidth states (a range
    of its own without any), the spread of rates around them (`isthmus.adapt.belief_spread`; none: as published) and a
    latency requirement, and a chooser that follows it; `seen` as in `right_sizing_of`. Raises BadInput for a bundle
    without exits."""
    problem = right_sizing_of(
        bundle,
        within_s=within_s,
        states_bps=states_bps,
        states_spread=states_spread,
        seen=seen,
        batch=batch,
        server_first=server_first,
    )
    watch = TableChooser(table_of(bundle, batch=batch, server_first=server_first), Habits(deadline_s=within_s))
    return MapChooser(configuration_map(problem, reward), watch)


def each_chooser_of(
    bundle: Bundle, *, within_s: float, seen: Lateness | None = None, batch: int = 1, server_first: bool = False
) -> EachRequest:
    """Edgent's static optimiser asked again before every request, for the rate measured last; before the first sample,
    for the link that was packed. Raises BadInput for a bundle without exits, NoPlan where no exit fits in memory."""
    problem = right_sizing_of(bundle, within_s=within_s, seen=seen, batch=batch, server_first=server_first)
    watch = TableChooser(table_of(bundle, batch=batch, server_first=server_first), Habits(deadline_s=within_s))
    return EachRequest.of(problem, watch)


def right_sized_choice(
    bundle: Bundle, *, within_s: float, seen: Lateness | None = None, batch: int = 1, server_first: bool = False
) -> Choice:
    """Edgent's static optimiser for a bundle with exits and the link it was packed for: exit and cut, once and for all.

    Raises BadInput for a bundle without exits, NoPlan with the nearest miss where no exit is in time.
    """
    plan = edgent(right_sizing_of(bundle, within_s=within_s, seen=seen, batch=batch, server_first=server_first))
    return Choice(
        cut=asked_cut(plan.cuts[0], plan.first),
        codec=plan.codec,
        first=plan.first,
        exit=plan.exit,
        predicted_s=plan.cost.total_s,
        why=plan.why,
    )


def serve(
    bundle: str | Path | Bundle,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    threads: int = 1,
    slowdown: float = 1.0,
    bounds: Bounds | None = None,
    progress: Progress | None = None,
) -> Server:
    """Starts serving a bundle, whole and from every cut on, and returns at once; what `connect` is to the other side.

    `port` 0 takes any free one (`Server.address`), `slowdown` declares this server so many times slower, `bounds` is
    what it allows before it allocates anything, and `progress` is told about the work until then. Raises BadBundle, and
    BadInput when the port is in use or the host is not one of this machine.
    """
    opened = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
    engine = Engine.open(opened.model(), threads=threads, slowdown=slowdown, progress=progress)
    few = opened.manifest.few_bits
    if few is not None and few.head is not None:
        engine.halves(few.head.cut)  # now, and not when the first request asks for it
    return serve_engine(
        engine,
        opened.manifest.name,
        host=host,
        port=port,
        clips=opened.clips,
        pictures=opened.pictures,
        exits=opened.exits,
        bounds=bounds,
    )


def connect(
    bundle: str | Path | Bundle | Ready,
    address: str,
    *,
    deadline_s: float = 2.0,
    mode: Mode = "auto",
    private_until: str | None = None,
    batch: int = 1,
    max_batch: int | None = None,
    exit_at: str | None = None,
    early: bool | ExitTable = False,
    server_first: bool | None = None,
    besides: bool = True,
    chooser: Chooser | None = None,
    journal: StepWriter | None = None,
    verify: bool = False,
    true_bps: Callable[[float], float | None] | None = None,
) -> Session:
    """A session that runs a bundle across this machine and the server at `address` ("host:port").

    `session.infer({"x": array})` answers with the outputs and how the request went. The cut moves with the link and the
    server's load; when the server is away the device finishes by itself. Decisions are made for the batch size of each
    request: `batch` is the one expected, and `max_batch` the greatest where they vary (`Session.batched`).

    `exit_at` names the exit that the network is run to: nothing behind it is computed on either side. With `early`
    every input leaves at the first exit that is sure of it, by the bundle's table or another one that the server holds
    too; with both, at the latest at `exit_at`. A chooser of your own names exits itself, unless `exit_at` does.

    In the mode `private` the raw input never leaves the device; nor does, with `private_until`, any tensor made on the
    way to the node of this name (in the modes `auto` and `private`).

    With `server_first` the server runs the part before the cut and the device the rest (Edgent's own order); None: as
    the bundle's plan was made. A chooser of your own says that itself.

    Where the device computes everything but the server might be as quick, it is asked too, and whoever is first counts;
    with `besides` False it is not: fewer bytes and less work there, for answers that come somewhat later.

    Raises BadBundle, Refused (another model or version there), BadInput for a batch size the model does not take, for
    privacy where the server runs first, or for a `private_until` that the mode or a chooser of your own would break,
    and in the mode `only_on_server` Unreachable, or Full where the server has its clients already.
    """
    check_deadline(deadline_s)
    if chooser is not None:
        check_chooser(chooser)
    for name, size in (("batch", batch), ("max_batch", max_batch)):
        if size is not None and not is_whole(size, 1, MOST_BATCH):
            raise BadInput(f"{name} is a whole number from 1 to {MOST_BATCH}, not {size!r}")
    here = bundle if isinstance(bundle, Ready) else ready(bundle)
    opened = here.bundle
    if private_until is not None and (chooser is not None or mode not in ("auto", "private")):
        who = f"the mode {mode}" if chooser is None else "a chooser of your own"
        raise BadInput(f"{who} may send what private_until={private_until} keeps here: use the modes auto or private")
    if chooser is None:
        sizes = {batch, *(sizes_up_to(max_batch) if max_batch is not None else ())}
        back = opened.plan.first == "server" if server_first is None else server_first
        limits = Limits(private=mode == "private", private_until=private_until)
        if back and (limits.private or private_until is not None):
            raise BadInput(
                "a server that runs first must be sent the input, which privacy keeps here: take the mode auto without "
                "private_until, or --device-first (server_first=False)"
            )
        tables = tables_of(opened, sizes, limits=limits, exit_at=exit_at, server_first=back)
        chooser = TableChooser(tables, Habits(deadline_s=deadline_s, besides=besides))
    if exit_at is not None:
        chooser = AtExit(chooser, exit_at)
    return connect_engine(
        here.engine,
        address,
        chooser=chooser,
        deadline_s=deadline_s,
        mode=mode,
        clips=opened.clips,
        pictures=opened.pictures,
        exits=_rule(opened, early),
        journal=journal,
        verify=here.checker() if verify else False,
        original=here.original() if verify else None,
        written=None if opened.manifest.few_bits is None else opened.manifest.few_bits.written,
        true_bps=true_bps,
    )


def _rule(bundle: Bundle, early: bool | ExitTable) -> ExitTable | None:
    """By what inputs leave early, if they may. Raises BadInput where the bundle has nothing to go by."""
    if not isinstance(early, bool):
        return early
    if early and bundle.exits is None:
        raise BadInput(
            f"{bundle.path} has no table of exits, so nobody knows when an input is sure; "
            "make one with isthmus profile --exits and pack it with --exits"
        )
    return bundle.exits if early else None

"""`isthmus run`: the near side. Sends requests, wherever they are computed, and says how they went."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer
from rich.table import Table

from isthmus.adapt import Fixed, is_own, own_chooser
from isthmus.cli.batched import Callers, send_batched, show_callers
from isthmus.cli.common import BatchOption, Json, Threads, emit, err, interruptible, out, progress_bar, today
from isthmus.cli.edgent import States, past_of, say_unmet
from isthmus.cli.entry import INTERRUPTED
from isthmus.cli.planning import PrivateUntil
from isthmus.cli.promising import LateFrom, lateness_of
from isthmus.codec import Array, make_codec
from isthmus.errors import BadInput, Remote
from isthmus.graph import at_exit, cut_at, graph_of
from isthmus.model import Model
from isthmus.plan.map_types import RewardName
from isthmus.profile.accuracy import Samples, load_samples
from isthmus.record import Batching, Choice, Chooser, Header, Journal, Step, Summary, summarise
from isthmus.run import Session
from isthmus.run.way import place_of
from isthmus.session import (
    Ready,
    connect,
    each_chooser_of,
    map_chooser_of,
    ready,
    right_sized_choice,
    tables_of,
)
from isthmus.units import LONGEST_S, MOST_BATCH, seconds, show_bytes, show_seconds

_DIFFERENT_INPUTS = 8
_DECIDES = ("dynamic", "edgent", "edgent_each", "edgent_map", "edgent_map_accuracy")
ModeName = Literal["auto", "prefer_on_device", "only_on_device", "prefer_on_server", "only_on_server", "private"]


class Steps:
    """Keeps the steps of a run, and writes them to a journal where one is wanted."""

    def __init__(self, journal: Journal | None = None) -> None:
        self.all: list[Step] = []
        self._journal = journal

    def write(self, step: Step) -> None:
        """One more."""
        self.all.append(step)
        if self._journal is not None:
            self._journal.write(step)


def _known(planner: str) -> str:
    """Refused before anything is opened, where there is none of this name."""
    if planner not in _DECIDES and not is_own(planner):
        raise BadInput(
            f"--planner {planner} is none of {', '.join(_DECIDES)}; give a chooser of your own as file.py:function"
        )
    return planner


def _address(to: str) -> str:
    """Refused before anything is opened, where it can never be one."""
    place_of(to)
    return to


def run(
    bundle: Annotated[Path, typer.Argument(help="The bundle folder.")],
    to: Annotated[str, typer.Option(callback=_address, help="The server, as HOST:PORT.")] = "127.0.0.1:8001",
    requests: Annotated[int, typer.Option(min=1, help="How many requests.")] = 100,
    every: Annotated[str, typer.Option(help="Time from one request's start to the next, as 50ms; 0: at once.")] = "0",
    rate: Annotated[str, typer.Option(help="Requests a second, as 20/s, instead of --every.")] = "",
    batch: BatchOption = 1,
    max_batch: Annotated[
        int,
        typer.Option(
            min=0, max=MOST_BATCH, help="Gather requests into batches of up to so many samples; 0: each on its own."
        ),
    ] = 0,
    max_delay: Annotated[str, typer.Option(help="Longest wait of a request for others, as 10ms.")] = "10ms",
    mode: Annotated[ModeName, typer.Option(help="Where requests may run.")] = "auto",
    private_until: PrivateUntil = None,
    deadline: Annotated[str, typer.Option(help="After this the device finishes by itself.")] = "2s",
    cut: Annotated[str, typer.Option(help="Always this cut, instead of adapting.")] = "",
    codec: Annotated[str, typer.Option(help="The codec for --cut.")] = "float32",
    exit_at: Annotated[str, typer.Option("--exit", help="Run the network to this exit only.")] = "",
    planner: Annotated[
        str,
        typer.Option(
            callback=_known,
            metavar="NAME",
            help="Who moves the cut: dynamic; with exits, in time for --deadline, edgent_map or edgent_map_accuracy, "
            "edgent once and for all, edgent_each anew for every request; or file.py:function of your own.",
        ),
    ] = "dynamic",
    server_first: Annotated[
        bool | None,
        typer.Option(
            "--server-first/--device-first",
            help="Which side runs the part before the cut; as the bundle was packed where neither is said.",
        ),
    ] = None,
    besides: Annotated[
        bool,
        typer.Option(
            "--besides/--no-besides",
            help="Ask the server beside the device where it may be as quick; first come, first taken.",
        ),
    ] = True,
    states: States = None,
    late_from: LateFrom = None,
    early: Annotated[bool, typer.Option("--early", help="Inputs leave at the first exit that is sure.")] = False,
    data: Annotated[Path | None, typer.Option(help="Inputs (.npz, one array an input); seeded noise without.")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Recompute every answer here and compare.")] = False,
    journal: Annotated[Path | None, typer.Option(help="Write a line a request to this new file.")] = None,
    threads: Threads = 1,
    slowdown: Annotated[
        float | None, typer.Option(help="Declared slow-down of this machine; the device profile's without it.")
    ] = None,
    json: Json = False,
) -> None:
    """Run requests across this machine and a server; the cut moves with the link. Exits with 1 if an answer was lost
    or wrong, with 2 if the journal could not be written to its end, with 130 if Ctrl-C cut it short.

    Example: isthmus run bundle --to 192.0.2.7:8001 --requests 1000 --journal run.jsonl

    Gathered: isthmus run bundle --max-batch 8 --max-delay 10ms --rate 50/s

    Exit and cut by a configuration map: isthmus run bundle --planner edgent_map --deadline 200ms
    (planned anew for every request: --planner edgent_each)

    A network with early exits: isthmus run bundle --early, or to one of them: isthmus run bundle --exit exit1

    The server runs the first part, the device the rest: isthmus run bundle --server-first
    """
    every_s = pace_of(every, rate)
    rule = Batching(max_batch, seconds(max_delay)) if max_batch else None
    here = ready(bundle, threads=threads, slowdown=slowdown)
    say_alone(here)
    back = here.bundle.plan.first == "server" if server_first is None else server_first
    chooser = _chooser(here, planner, cut, codec, exit_at, seconds(deadline), states, late_from, batch, back)
    if private_until is not None and chooser is not None:
        which = f"--cut {cut}" if cut else f"--planner {planner}"
        raise BadInput(f"{which} may send what --private-until {private_until} keeps here: leave one of them out")
    inputs = inputs_for(here.engine.model, batch, data)
    with ExitStack() as stack:
        log = stack.enter_context(Journal(journal, _header(here, to))) if journal is not None else None
        steps = Steps(log)
        session = stack.enter_context(
            connect(
                here,
                to,
                deadline_s=seconds(deadline),
                mode=mode,
                private_until=private_until,
                batch=batch,
                max_batch=max_batch or None,
                exit_at=exit_at or None,
                early=early,
                server_first=back,
                besides=besides,
                chooser=chooser,
                journal=steps,
                verify=verify,
            )
        )
        callers = send_batched(session, inputs, requests, every_s, rule) if rule else None
        asked = None if callers else send(session, inputs, requests, every_s)
    summary = summarise(steps.all, requests=asked)
    _say(summary, callers, as_json=json)
    if session.unreached:
        err.print(f"the server at {to} was never reached")
    if (unwritten := session.unwritten) is not None:
        raise unwritten
    if summary.lost or summary.wrong or (callers and callers.lost):
        raise typer.Exit(1)
    if (callers.asked if callers else asked) != requests:
        raise typer.Exit(INTERRUPTED)


def _chooser(
    here: Ready,
    planner: str,
    cut: str,
    codec: str,
    exit_at: str,
    within_s: float,
    states: list[Path] | None,
    late_from: Path | None,
    batch: int,
    back: bool,
) -> Chooser | None:
    """Whoever decides, where it is not the session's own. `back`: the server runs the part before the cut."""
    if codec != "float32" and not cut:
        raise BadInput(f"--codec {codec} is the codec for --cut: give both, or neither")
    seen = lateness_of(late_from)
    if seen is not None and not planner.startswith("edgent"):
        raise BadInput(f"--late-from is for planners that promise a deadline, as edgent and edgent_map, not {planner}")
    if planner == "dynamic":
        if states:
            raise BadInput("--states are for --planner edgent_map")
        return _fixed(here, cut, codec, exit_at, back) if cut else None
    if is_own(planner):
        if cut or states:
            raise BadInput(f"{planner} decides by itself: leave --cut and --states out")
        return own_chooser(
            planner, tables_of(here.bundle, [batch], exit_at=exit_at or None, server_first=back), within_s
        )
    if cut or exit_at:
        raise BadInput(f"{planner} chooses cut and exit itself: leave --cut and --exit out")
    if planner in ("edgent", "edgent_each"):
        if states:
            what = "the link that was packed" if planner == "edgent" else "the rate measured last"
            raise BadInput(f"--states are for --planner edgent_map; {planner} plans for {what}")
        if planner == "edgent_each":
            return each_chooser_of(here.bundle, within_s=within_s, seen=seen, batch=batch, server_first=back)
        return Fixed(right_sized_choice(here.bundle, within_s=within_s, seen=seen, batch=batch, server_first=back))
    past = past_of(states)
    reward: RewardName = "accuracy_first" if planner == "edgent_map_accuracy" else "edgent"
    chooser = map_chooser_of(
        here.bundle,
        reward=reward,
        within_s=within_s,
        states_bps=past.states_bps,
        states_spread=past.spread,
        seen=seen,
        batch=batch,
        server_first=back,
    )
    say_unmet(chooser.config)
    return chooser


def _fixed(here: Ready, cut: str, codec: str, exit_at: str, back: bool) -> Chooser:
    """Always this. Raises BadInput where the network, or as much of it as one exit needs, has no such cut, and for an
    unknown codec."""
    make_codec(codec)
    graph = graph_of(here.engine.model)
    cut_at(at_exit(graph, exit_at) if exit_at else graph, cut)
    return Fixed(Choice(cut=cut, codec=codec, first="server" if back else "device"))


def pace_of(every: str, rate: str) -> float:
    """Seconds from one request to the next. Raises BadInput for both options at once, or less than one a year."""
    if not rate:
        return seconds(every)
    if seconds(every):
        raise BadInput("give --every or --rate, not both")
    try:
        per_s = float(rate.strip().removesuffix("/s"))
    except ValueError:
        per_s = math.nan
    if not 1 / LONGEST_S <= per_s < math.inf:
        raise BadInput(f"'{rate}' is no rate of requests such as 20/s, at least one a year")
    return 1 / per_s


def say_alone(here: Ready) -> None:
    """Warn where the device cannot finish a request by itself."""
    if here.engine.finishes == "never":
        err.print(
            "this device has no whole network: while the server is away requests wait until --deadline and are lost"
        )


def _say(summary: Summary, callers: Callers | None, *, as_json: bool) -> None:
    """The summary; where requests were gathered, its requests are batches, and the callers are told of beside it."""

    def show() -> None:
        show_summary(summary)
        if callers is not None:
            show_callers(callers)

    plain = summary.model_dump(mode="json")
    emit({**plain, "callers": callers.model_dump(mode="json")} if callers else plain, as_json=as_json, show=show)


def send(session: Session, inputs: Iterator[Mapping[str, Array]], requests: int, every_s: float) -> int:
    """Send requests one after the other; returns how many were asked. Ctrl-C ends after the one in flight."""
    asked = 0
    start = time.perf_counter()
    with interruptible() as stopped, progress_bar("requests") as progress:
        for number in range(requests):
            if stopped.wait(max(0.0, start + number * every_s - time.perf_counter())):
                err.print("interrupted; the requests so far:")
                break
            asked += 1
            try:
                step = session.infer(next(inputs)).step
            except Remote as error:
                err.print(f"request {number}: {error}")
                continue
            progress(number + 1, requests, f"{step.cut} {show_seconds(step.seconds.total)}")
    return asked


def inputs_for(model: Model, batch: int, data: Path | None) -> Iterator[dict[str, Array]]:
    """Inputs without end: the samples of a file in order and again from its first, or a few seeded ones in turn. Raises
    BadInput for a file of fewer samples than a request holds."""
    if data is None:
        return itertools.cycle([model.random_inputs(batch, seed) for seed in range(_DIFFERENT_INPUTS)])
    samples = load_samples(data, model)
    if (count := len(samples)) < batch:
        raise BadInput(
            f"{data} holds {count} samples, fewer than the {batch} of --batch; give more, or a smaller batch"
        )
    return (_round(samples, start % count, batch) for start in itertools.count(0, batch))


def _round(samples: Samples, start: int, batch: int) -> dict[str, Array]:
    """So many samples from `start` on; behind the last comes the first."""
    if start + batch <= len(samples):
        return dict(samples.part(start, start + batch).inputs)
    return dict(samples.pick(np.arange(start, start + batch) % len(samples)).inputs)


def show_summary(summary: Summary) -> None:
    """How the requests went, as a table of places and one line of totals."""
    table = Table("ran", "cut", "requests", "p50", "p99", "sent")
    for place in summary.places:
        times = (show_seconds(place.p50_s or 0), show_seconds(place.p99_s or 0))
        ran = f"{place.ran}, server first" if place.first == "server" else place.ran
        table.add_row(ran, place.cut, str(place.requests), *times, show_bytes(place.up_bytes))
    out.print(table)
    for use in summary.exits:
        shown = f"{use.samples} ({use.share:.1%}) at {use.exit}, p50 {show_seconds(use.p50_s)}"
        out.print(f"left early: {shown}" if len(summary.exits) > 1 else f"answered: {shown}")
    checked = f", {summary.wrong} wrong of {summary.verified} verified" if summary.verified else ""
    out.print(
        f"{summary.answered} of {summary.requests} answered, {summary.lost} lost{checked}; p50 "
        f"{show_seconds(summary.p50_s or 0)}, p99 {show_seconds(summary.p99_s or 0)}, {summary.switches} switches, "
        f"{summary.fallbacks} finished by the device instead"
    )


def _header(here: Ready, to: str) -> Header:
    manifest = here.bundle.manifest
    return Header(
        model=manifest.name,
        fingerprint=manifest.fingerprint,
        started=today(),
        device=here.bundle.device.machine.name,
        server=to,
        cut_order=tuple(c.id for c in here.engine.cuts),
    )

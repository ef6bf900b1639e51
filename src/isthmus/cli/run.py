"""`isthmus run`: the near side. Sends requests, wherever they are computed, and says how they went."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Literal

import typer

from isthmus.cli.batched import Callers, send_batched, show_callers
from isthmus.cli.common import Awake, BatchOption, Json, Threads, emit, err, today
from isthmus.cli.deciding import Planner, Wanted
from isthmus.cli.edgent import States
from isthmus.cli.entry import INTERRUPTED
from isthmus.cli.planning import PrivateUntil
from isthmus.cli.promising import LateFrom
from isthmus.cli.sending import Steps, inputs_for, pace_of, send, show_summary
from isthmus.errors import BadInput
from isthmus.record import Batching, Header, Journal, Summary, summarise
from isthmus.run import processors_awake
from isthmus.run.way import place_of
from isthmus.session import Ready, connect, ready
from isthmus.units import MOST_BATCH, seconds

ModeName = Literal["auto", "prefer_on_device", "only_on_device", "prefer_on_server", "only_on_server", "private"]


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
    planner: Planner = "dynamic",
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
    awake: Awake = False,
    threads: Threads = 1,
    slowdown: Annotated[
        float | None, typer.Option(help="Declared slow-down of this machine; the device profile's without it.")
    ] = None,
    json: Json = False,
) -> None:
    """Run requests across this machine and a server; the cut moves with the link. Exits with 1 if an answer was lost
    or wrong, with 2 if the journal could not be written to its end or a planner of your own failed at what it was told,
    with 130 if Ctrl-C cut it short.

    Example: isthmus run bundle --to 192.0.2.7:8001 --requests 1000 --journal run.jsonl

    Gathered: isthmus run bundle --max-batch 8 --max-delay 10ms --rate 50/s

    Exit and cut by a configuration map: isthmus run bundle --planner edgent_map --deadline 200ms
    (planned anew for every request: --planner edgent_each)

    A network with early exits: isthmus run bundle --early, or to one of them: isthmus run bundle --exit exit1

    The server runs the first part, the device the rest: isthmus run bundle --server-first
    """
    every_s = pace_of(every, rate)
    rule = Batching(max_batch, seconds(max_delay)) if max_batch else None
    with ExitStack() as stack:
        if awake:
            stack.enter_context(processors_awake())
        here = ready(bundle, threads=threads, slowdown=slowdown)
        say_alone(here)
        back = here.bundle.plan.first == "server" if server_first is None else server_first
        wanted = Wanted(
            planner=planner,
            cut=cut,
            codec=codec,
            exit_at=exit_at,
            within_s=seconds(deadline),
            states=states,
            late_from=late_from,
            batch=batch,
            server_first=back,
        )
        chooser = wanted.chooser(here)
        if private_until is not None and chooser is not None:
            which = f"--cut {cut}" if cut else f"--planner {planner}"
            raise BadInput(f"{which} may send what --private-until {private_until} keeps here: leave one of them out")
        inputs = inputs_for(here.engine.model, batch, data)
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
    if (why := session.unreached) is not None:
        err.print(f"the server at {to} was never reached: {why}")
    if (unwritten := session.unwritten) is not None:
        raise unwritten
    if (stumbled := session.stumbled) is not None:
        raise stumbled
    if summary.lost or summary.wrong or (callers and callers.lost):
        raise typer.Exit(1)
    if (callers.asked if callers else asked) != requests:
        raise typer.Exit(INTERRUPTED)


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

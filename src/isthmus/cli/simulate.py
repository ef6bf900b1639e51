"""`isthmus simulate`: policies through a trace, in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Column, Table

from isthmus.cli.common import Json, batches_of, emit, err, out, progress_bar, today
from isthmus.cli.computing import DeviceName, ServerName
from isthmus.cli.edgent import Exits, RightSized, ServerFirst, States, exits_for, past_of, right_sized, say_unmet
from isthmus.cli.planning import Codecs, Private, PrivateUntil, limits_of
from isthmus.cli.simulating import (
    Machine,
    Subject,
    away_of,
    file_of,
    is_steps,
    others_of,
    requests_of,
    subject_of,
    trace_of,
)
from isthmus.errors import BadInput
from isthmus.link import Link, Trace
from isthmus.plan import configuration_map
from isthmus.record import Header, Journal
from isthmus.simulate import (
    RIGHT_SIZING,
    Load,
    Requests,
    Row,
    StepWriter,
    World,
    changes,
    compare,
    read_load,
    usable,
)
from isthmus.units import MOST_BATCH, seconds, show_seconds

BELIEVED_BPS = 20e6
"""What is believed of a link before anything is known, where no bundle says it."""
DEFAULT_RTT = "10ms"
NEVER = "never"
LONGEST_TRACE_S = 86_400.0
"""A journal of a given number of requests shows at most this much of the link."""


def simulate(
    what: Annotated[str, typer.Argument(help="A bundle's folder, or a model (zoo:NAME, FILE.onnx) with two profiles.")],
    trace: Annotated[
        str, typer.Option(help="The uplink over time: a file (two columns, Oboe, mahimahi, CSV), or 20Mbit:10s,0:2s.")
    ],
    policies: Annotated[
        str,
        typer.Option(
            help=r"dynamic, table, static, device, server\[/CODEC], clairvoyant, cut:ID\[/CODEC], cuts: each of them; "
            "among exits too: edgent, edgent_each, edgent_map, edgent_map_accuracy."
        ),
    ] = "dynamic,static,device,server,clairvoyant",
    device_profile: Annotated[Path | None, typer.Option(help="Profile of the device.")] = None,
    server_profile: Annotated[Path | None, typer.Option(help="Profile of the server.")] = None,
    device: DeviceName = None,
    server: ServerName = None,
    slowdown: Annotated[float, typer.Option(help="The device is this many times slower than its profile says.")] = 1.0,
    codecs: Codecs = "float32,float16,int8",
    private: Private = False,
    private_until: PrivateUntil = None,
    batches: Annotated[str, typer.Option("--batch", "--batches", help="Samples a request; 1,4,16 in turn.")] = "1",
    max_batch: Annotated[
        int, typer.Option(min=1, max=MOST_BATCH, help="Gather single samples up to so many (with --every).")
    ] = 1,
    max_delay: Annotated[str, typer.Option(help="How long the first of a batch waits for others.")] = "10ms",
    every: Annotated[str, typer.Option(help="Time from one start to the next; 0: each as the last ends.")] = "0",
    requests: Annotated[int | None, typer.Option(help="How many; without: for as long as the trace lasts.")] = None,
    scale: Annotated[float, typer.Option(help="Multiply the trace's rates.")] = 1.0,
    clip: Annotated[str, typer.Option(help="Force the rates into LOW:HIGH, as 100kbit:50Mbit.")] = "",
    part: Annotated[str, typer.Option(help="Only START:END of the trace, as 60s:360s.")] = "",
    loop: Annotated[bool, typer.Option("--loop", help="Start the trace again when it ends.")] = False,
    rate_column: Annotated[str | None, typer.Option(help="The column of a CSV that holds the rate.")] = None,
    rtt: Annotated[str, typer.Option(help="Round trip, as 10ms; a bundle's own where absent.")] = "",
    down_ratio: Annotated[
        float | None, typer.Option(help="The downlink as a multiple of the uplink; a bundle's own, or 1.")
    ] = None,
    load: Annotated[
        Path | None, typer.Option(help="The server's load over time: a file of seconds and factor, 1 until the first.")
    ] = None,
    others: Annotated[
        str, typer.Option(help="Requests of others that ours queue behind: PER_SECOND:WORK, as 5:40ms.")
    ] = "",
    away: Annotated[str, typer.Option(help="When the server is away: FROM:TO, as 10s:20s,40s:41s.")] = "",
    deadline: Annotated[str, typer.Option(help="After this the device finishes by itself; or never.")] = "2s",
    wait: Annotated[
        str, typer.Option(help="How long the device really waits; --deadline is then only when an answer is late.")
    ] = "",
    exits: Exits = "",
    states: States = None,
    server_first: ServerFirst = False,
    noise: Annotated[float, typer.Option(help="Noise on compute: standard deviation of log time, as 0.1.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the noise and of others' arrivals.")] = 0,
    journal: Annotated[Path | None, typer.Option(help="Write POLICY.jsonl of each into this folder.")] = None,
    json: Json = False,
) -> None:
    """Play policies through a bandwidth trace in virtual time: latency, gains, where requests ran. `isthmus report`
    draws the journals.

    Gains are what dynamic (or the first policy) saves against each, in both readings: the mean of the relative
    savings, and the ratio of the sums. Regret is what a policy takes more than the clairvoyant.

    Example: isthmus simulate bundle --trace bus.txt --policies dynamic,static,device,server,clairvoyant

    Exit and cut: isthmus simulate bundle --trace bus.txt --policies edgent_map,edgent --deadline 200ms --states old.txt
    """
    up = trace_of(trace, scale=scale, clip=clip, part=part, loop=loop, rate_column=rate_column)
    notes = usable(up, recorded=not is_steps(trace))
    asked = requests_of(batches_of(batches), max_batch, max_delay, every, requests, up)
    subject = subject_of(
        what,
        asked.sizes,
        Machine("device", device_profile, device),
        Machine("server", server_profile, server),
        slowdown,
        codecs,
        limits=limits_of(private=private, private_until=private_until),
        link=Link(BELIEVED_BPS, BELIEVED_BPS, seconds(rtt or DEFAULT_RTT)),
        server_first=server_first,
    )
    listed = _listed(policies)
    right = _right_sized(subject, what, listed, exits, states, None if deadline == NEVER else seconds(deadline))
    waits = wait or deadline
    world = World(
        tables=subject.tables,
        up=up,
        down=None if down_ratio is None else up.scaled(down_ratio),
        rtt_s=seconds(rtt) if rtt else None,
        load=Load.constant() if load is None else read_load(load, loop=loop),
        away=away_of(away),
        others=others_of(others, seed),
        deadline_s=None if waits == NEVER else seconds(waits),
        noise=noise,
        seed=seed,
        exits={} if right is None else right.tables,
    )
    with ExitStack() as stack, progress_bar("simulating") as progress:
        journals = _journals(journal, subject, world, asked, stack)
        problem = None if right is None else right.problem
        reference, rows = compare(world, asked, listed, problem=problem, journals=journals, progress=progress)
    for note in notes:
        err.print(f"trace: {note}", highlight=False)
    emit(_plain(subject, up, notes, reference, rows), as_json=json, show=lambda: _show(subject, up, reference, rows))


def _listed(policies: str) -> list[str]:
    return [name.strip() for name in policies.split(",") if name.strip()]


def _right_sized(
    subject: Subject, what: str, policies: list[str], given: str, states: list[Path] | None, within_s: float | None
) -> RightSized | None:
    """What policies that choose among exits decide by; None where there is none of them."""
    if not given and not any(name in RIGHT_SIZING for name in policies):
        if states:
            raise BadInput(f"--states are for the policies that choose among exits: {', '.join(RIGHT_SIZING)}")
        return None
    found = subject.exits
    if given or not found:
        graph = subject.problems[min(subject.problems)].graph
        found = exits_for("edgent_map", what, graph, subject.fingerprint, given)
    right = right_sized(subject.problems, found, within_s, past_of(states))
    if any(name.startswith("edgent_map") for name in policies):
        say_unmet(configuration_map(right.problem))
    return right


def _journals(
    folder: Path | None, subject: Subject, world: World, asked: Requests, stack: ExitStack
) -> Callable[[str], StepWriter | None]:
    """Makes the journal of a policy, closed with the stack."""
    if folder is None:
        return lambda _: None
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"cannot make the folder {folder}: {error.strerror or error}") from error
    until_s = asked.until_s or LONGEST_TRACE_S

    def made(policy: str) -> Journal:
        header = Header(
            model=subject.model,
            fingerprint=subject.fingerprint,
            started=today(),
            device=subject.device,
            server=subject.server,
            link=f"simulated: {policy}",
            link_trace=tuple(changes(world, until_s)),
            cut_order=subject.cut_order,
        )
        return stack.enter_context(Journal(folder / file_of(policy), header))

    return made


def _plain(subject: Subject, up: Trace, notes: list[str], reference: str, rows: list[Row]) -> dict[str, Any]:
    return {
        "kind": "isthmus-simulation",
        "version": 1,
        "model": subject.model,
        "device": subject.device,
        "server": subject.server,
        "trace": {**up.summary(), "notes": notes},
        "reference": reference,
        "policies": [row.model_dump(mode="json") for row in rows],
    }


def _show(subject: Subject, up: Trace, reference: str, rows: list[Row]) -> None:
    """Latencies and gains, then where requests ran: two tables that fit a terminal."""
    out.print(f"{subject.model} over {up}", highlight=False)
    out.print(_latencies(reference, rows))
    if any(row.served for row in rows):
        out.print(_served(rows))
    out.print(_places(rows))


def _latencies(reference: str, rows: list[Row]) -> Table:
    waited, regretted = any(r.wait_s > 0 for r in rows), any(r.regret is not None for r in rows)
    table = Table(
        Column("policy", overflow="fold", min_width=11),
        box=SIMPLE_HEAD,
        caption=f"saves: by {reference}, against each",
        caption_justify="left",
    )
    for name in ("mean", "p50", "p99", *_kept("waited", waited), "saves, mean", "of sums", *_kept("regret", regretted)):
        table.add_column(name, justify="right")
    for row in rows:
        times = [show_seconds(t) if t is not None else "-" for t in (row.mean_s, row.p50_s, row.p99_s)]
        gains = (None, None) if row.gain is None else (row.gain.mean_of_savings, row.gain.ratio_of_sums)
        cells = [row.policy, *times, *_kept(show_seconds(row.wait_s), waited), *map(_percent, gains)]
        table.add_row(*cells, *_kept(_percent(row.regret), regretted))
    return table


def _served(rows: list[Row]) -> Table:
    """What the answers were worth: in time, how accurate, how fast."""
    table = Table(Column("policy", overflow="fold", min_width=11), box=SIMPLE_HEAD)
    for name in ("in time", "reward", "accuracy", "a second", "new states", "exits"):
        table.add_column(name, justify="right")
    for row in rows:
        if (one := row.served) is None:
            continue
        changed = "-" if one.state_changes is None else str(one.state_changes)
        used = ", ".join(f"{name} {_percent(share)}" for name, share in row.shares.exits.items()) or "the last"
        cells = (_percent(one.met), f"{one.reward:.2f}", _percent(one.accuracy), f"{one.throughput_per_s:.2f}", changed)
        table.add_row(row.policy, *cells, used)
    return table


def _places(rows: list[Row]) -> Table:
    table = Table(Column("policy", overflow="fold", min_width=11), box=SIMPLE_HEAD)
    for name in ("requests", "lost", "late", "switches", "probes"):
        table.add_column(name, justify="right")
    table.add_column("ran", overflow="fold")
    for row in rows:
        counts = (row.requests, row.lost, row.fallbacks, row.switches, row.probes)
        table.add_row(row.policy, *map(str, counts), _ran(row))
    return table


def _kept(cell: str, wanted: bool) -> list[str]:
    return [cell] if wanted else []


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share + 0.0:.1f} %"


def _ran(row: Row, most: int = 3) -> str:
    if row.plays:
        return row.plays
    shown = [f"{name} {_percent(share)}" for name, share in list(row.shares.choices.items())[:most]]
    return ", ".join(shown) + (", …" if len(row.shares.choices) > most else "")

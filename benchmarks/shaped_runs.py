"""Fixed choices run across two machines over a link of chosen rate: what several benchmarks measure with.

With root, two network namespaces joined by tbf (real TCP, cubic, one round trip of delay); without, a token bucket in a
proxy. Server and client are processes of their own, on different cores, one thread each.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from isthmus.adapt import Fixed
from isthmus.bundle import open_bundle
from isthmus.link import ShapedLink
from isthmus.link.testbed import GOODPUT, ShapedNetwork, missing
from isthmus.record import Choice, Step
from isthmus.session import connect, ready

PORT = 18031
WARM_UP = 3
REST = "12ms"
"""Before every part that is profiled: a core that has rested has cold caches, as between requests."""


@dataclass(frozen=True)
class Row:
    """One choice at one rate. Milliseconds are medians over the requests; bytes are what crossed."""

    rate_mbit: float
    cut: str
    codec: str
    bytes: int
    measured_ms: float
    head_ms: float
    tail_ms: float
    rtt_ms: float
    requests: int
    each_ms: Sequence[tuple[float, float, float]] = ()
    """Of every request: total, head, tail."""


@contextmanager
def packed(model: str, runs: int = 8, *, options: Sequence[str] = ()) -> Iterator[Path]:
    """A bundle of this model, profiled here on the first core, both machines as fast as this one."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle"
        _pack(model, bundle, ["--runs", str(runs), *options])
        yield bundle


def pack_as_used(model: str, bundle: Path, slowdown: float, runs: int, codecs: str, options: Sequence[str]) -> None:
    """A bundle whose two profiles are taken as the machines are used: each on its own core, which rests between
    requests. The device is declared `slowdown` times slower. It is there when it is whole."""
    with tempfile.TemporaryDirectory() as folder:
        profiles: list[str] = []
        for place, core, factor in (("device", 0, slowdown), ("server", 1, 1.0)):
            file = str(Path(folder) / f"{place}.json")
            words = ["profile", model, "--out", file, "--runs", str(runs), "--codecs", codecs, "--rest", REST]
            _isthmus(core, *words, "--slowdown", str(factor), "--json")
            profiles += [f"--{place}-profile", file]
        made = Path(folder) / "bundle"
        _pack(model, made, [*profiles, "--codecs", codecs, *options])
        bundle.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(made, bundle)


def _pack(model: str, bundle: Path, options: Sequence[str]) -> None:
    _isthmus(0, "pack", model, "--out", str(bundle), "--slowdown", "1", "--json", *options)


def _isthmus(core: int, *words: str) -> None:
    command = [*on_core(core), sys.executable, "-m", "isthmus", *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def on_core(core: int) -> list[str]:
    """A command prefix that pins to a core."""
    cores = sorted(os.sched_getaffinity(0))
    return ["taskset", "-c", str(cores[core % len(cores)])]


def measure(
    bundle: Path, choices: Sequence[Choice], rates_mbit: Sequence[float], requests: int, delay_s: float
) -> Iterator[Row]:
    """Every choice at every rate, `requests` times after a warm-up."""
    if missing():
        yield from _over_proxy(bundle, choices, rates_mbit, requests, delay_s)
        return
    with ShapedNetwork("100Mbit", delay_s=delay_s) as net:
        host = net.address("server")
        net.start("server", [*on_core(1), *serving(bundle, host)], stdout=subprocess.PIPE).stdout.readline()  # type: ignore[union-attr]
        for rate in rates_mbit:
            net.set_rate(rate * 1e6)
            child = net.start(
                "device", [*on_core(0), *_client(bundle, f"{host}:{PORT}", choices, requests)], stdout=subprocess.PIPE
            )
            yield from _rows(child, rate)


def goodput_mbit(rate_mbit: float) -> float:
    """What a transfer can reach at this rate: in the namespaces headers count, in the proxy only payload does."""
    return rate_mbit if missing() else rate_mbit * GOODPUT


def _over_proxy(
    bundle: Path, choices: Sequence[Choice], rates_mbit: Sequence[float], requests: int, delay_s: float
) -> Iterator[Row]:
    server = subprocess.Popen([*on_core(1), *serving(bundle, "127.0.0.1")], stdout=subprocess.PIPE)
    try:
        server.stdout.readline()  # type: ignore[union-attr]
        for rate in rates_mbit:
            with ShapedLink(f"127.0.0.1:{PORT}", rate * 1e6, delay_s=delay_s) as link:
                child = subprocess.Popen(
                    [*on_core(0), *_client(bundle, link.address, choices, requests)], stdout=subprocess.PIPE
                )
                yield from _rows(child, rate)
    finally:
        server.kill()
        server.wait()


def serving(bundle: Path, host: str) -> list[str]:
    """The command line of the server."""
    return [sys.executable, "-m", "isthmus", "serve", str(bundle), "--host", host, "--port", str(PORT), "--json"]


def _client(bundle: Path, address: str, choices: Sequence[Choice], requests: int) -> list[str]:
    wanted = json.dumps([[c.cut, c.codec] for c in choices])
    return [sys.executable, __file__, str(bundle), address, wanted, str(requests)]


def _rows(child: subprocess.Popen[bytes], rate: float) -> Iterator[Row]:
    text, _ = child.communicate()
    if child.returncode:
        raise SystemExit(f"the client ended with {child.returncode}")
    for row in json.loads(text):
        yield Row(rate_mbit=rate, **row)


def client(bundle: Path, address: str, choices: Sequence[Choice], requests: int) -> list[dict[str, object]]:
    """Runs in the client's process: each choice in turn on one session."""
    here = ready(open_bundle(bundle))
    inputs = here.engine.model.random_inputs(1)
    rows = []
    for choice in choices:
        with connect(here, address, chooser=Fixed(choice), deadline_s=60) as session:
            session.wait_connected(10)
            time.sleep(0.3)
            steps = [session.infer(inputs).step for _ in range(requests + WARM_UP)][WARM_UP:]
        if any(s.trouble or s.cut != choice.cut for s in steps):
            raise SystemExit(f"{choice.cut} was not what ran: {steps[-1].trouble}")
        rows.append(_row(choice, steps))
    return rows


def _row(choice: Choice, steps: Sequence[Step]) -> dict[str, object]:
    def median_ms(values: Sequence[float]) -> float:
        return statistics.median(values) * 1e3

    return {
        "cut": choice.cut,
        "codec": choice.codec,
        "bytes": steps[0].up_bytes,
        "measured_ms": median_ms([s.seconds.total for s in steps]),
        "head_ms": median_ms([s.seconds.head for s in steps]),
        "tail_ms": median_ms([s.seconds.tail for s in steps]),
        "rtt_ms": median_ms([s.evidence.rtt_s or 0.0 for s in steps]),
        "requests": len(steps),
        "each_ms": [(s.seconds.total * 1e3, s.seconds.head * 1e3, s.seconds.tail * 1e3) for s in steps],
    }


def as_rows(rows: Sequence[Row]) -> list[dict[str, object]]:
    """For JSON."""
    return [asdict(r) for r in rows]


if __name__ == "__main__":
    folder, place, wanted, count = sys.argv[1:]
    pairs = [Choice(cut=cut, codec=codec) for cut, codec in json.loads(wanted)]
    print(json.dumps(client(Path(folder), place, pairs, int(count))))

"""The same ways over a real link: a camera's process, a server's, and a shaped uplink between them.

`isthmus serve` runs in a process of its own; the camera is this one, every part of the network taking as many times as
long as the setting declares. The link is a token bucket with the round trip of the setting (`isthmus.link.ShapedLink`),
which needs no privileges.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from plate_pictures import Scene, network_input
from plate_pipeline import PICTURE, Answered, Pipeline, Way
from plate_planning import UPLOADS, Setting
from plate_scores import readings, score

from isthmus.adapt import Fixed
from isthmus.bundle.few_bits import Wanted, few_bits
from isthmus.bundle.pack import Contents, pack
from isthmus.errors import BadInput
from isthmus.graph import INPUT, OUTPUT
from isthmus.link import ShapedLink
from isthmus.plan import Plan, Problem
from isthmus.record import Choice, Step
from isthmus.session import Ready, connect, ready

_WARM_UP = 3
_PATIENCE_S = 30.0


@dataclass(frozen=True)
class Asked:
    """A way, and a plan to pack it with."""

    way: Way
    plan: Plan


@dataclass(frozen=True)
class Timed:
    """How requests went: seconds (median, and what nine in ten keep), the medians of what the camera and the server
    computed, the bytes sent, and what was read."""

    seconds: float
    late_s: float
    camera_s: float
    server_s: float
    answered: Answered


def run_live(
    pipeline: Pipeline,
    problem: Problem,
    setting: Setting,
    ways: Mapping[str, Asked],
    pictures: Sequence[Scene],
    tell: Callable[[str], None] = print,
) -> dict[str, Timed]:
    """Each way in turn, one request a picture. What keeps floating point on the camera shares a bundle and a server;
    every way with few bits has its own."""
    groups: dict[str, dict[str, Asked]] = {}
    for name, asked in ways.items():
        groups.setdefault("" if asked.way.bits is None else name, {})[name] = asked
    found = {}
    for number, group in enumerate(groups.values()):
        with tempfile.TemporaryDirectory() as folder:
            bundle = packed(pipeline, problem, setting, next(iter(group.values())).plan, Path(folder) / str(number))
            with _serving(bundle) as address:
                here = ready(bundle, slowdown=setting.slowdown)
                for name, asked in group.items():
                    found[name] = _timed(here, address, setting, asked.way, pictures)
                    tell(f"{name}: {found[name].seconds * 1e3:.0f} ms")
    return {name: found[name] for name in ways}


def packed(pipeline: Pipeline, problem: Problem, setting: Setting, plan: Plan, out: Path) -> Path:
    """A bundle for this plan; with quantised parts where it gives the camera few bits."""
    camera, here = (machine.profile for machine in problem.machines)
    contents = Contents(
        camera, here, plan, setting.link, codecs={INPUT: UPLOADS}, default_codecs=("float32", "float16"),
        pictures={"image": PICTURE},
    )  # fmt: skip
    if plan.bits is not None:
        whole = plan.bits if plan.cuts[0] == OUTPUT else None
        wanted = Wanted(plan, pipeline.tables, whole, setting.limits.home_memory_bytes)
        parts = few_bits(pipeline.engine, pipeline.net, wanted)
        codecs = {plan.cuts[0]: (plan.codec,), INPUT: ("int8",)}
        contents = replace(contents, few_bits=parts, clips=parts.clips, codecs=codecs)
    pack(pipeline.net, pipeline.engine, contents, out, packed=time.strftime("%Y-%m-%d"))
    return out


@contextmanager
def _serving(bundle: Path) -> Iterator[str]:
    """A server of this bundle; its address."""
    command = [sys.executable, "-m", "isthmus", "serve", str(bundle), "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        assert server.stdout is not None
        try:
            yield json.loads(server.stdout.readline())["address"]
        finally:
            server.terminate()


def _timed(here: Ready, address: str, setting: Setting, way: Way, pictures: Sequence[Scene]) -> Timed:
    """Every picture over a link of its own."""
    link = setting.link
    steps, found = [], []
    with (
        ShapedLink(address, link.up_bps, down=link.down_bps, delay_s=link.rtt_s / 2) as shaped,
        connect(
            here, shaped.address, chooser=Fixed(Choice(cut=way.cut, codec=way.codec)), deadline_s=_PATIENCE_S
        ) as session,
    ):
        session.wait_connected(_PATIENCE_S)
        for taken in (*pictures[:_WARM_UP], *pictures):
            answer = session.infer({"image": network_input(taken.pixels)})
            steps.append(_as_asked(answer.step, way))
            found.append(tuple(next(readings(answer.outputs))))
    steps, found = steps[-len(pictures) :], found[-len(pictures) :]
    took = sorted(s.seconds.total for s in steps)
    return Timed(
        seconds=median(took),
        late_s=took[(9 * len(took)) // 10],
        camera_s=median(s.seconds.head + s.seconds.local for s in steps),
        server_s=median(s.seconds.tail for s in steps),
        answered=Answered(
            tuple(found), score(found, [p.plates for p in pictures]), sum(s.up_bytes for s in steps) / len(steps)
        ),
    )


def _as_asked(step: Step, way: Way) -> Step:
    if step.trouble or step.cut != way.cut:
        raise BadInput(f"the cut {way.cut} was asked for and {step.cut} ran: {step.trouble}")
    return step

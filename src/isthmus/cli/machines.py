"""The model and the two machines that `plan` and `pack` decide for: profiles read, computed, or measured here."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli.common import err, progress_bar, today
from isthmus.cli.computing import computed
from isthmus.engine import Engine
from isthmus.errors import BadInput
from isthmus.files import read_json
from isthmus.graph import graph_of, tensors_before
from isthmus.model import Model, fused, load_model
from isthmus.plan import Limits
from isthmus.profile import Profile
from isthmus.profile.measure import CODECS, Measuring, measure
from isthmus.quant import need_quantisable
from isthmus.units import slow_down

DEFAULT_SLOWDOWN = 4.0
"""How much slower than this machine the device is declared to be when nobody gives its profile."""

DeviceProfile = Annotated[Path | None, typer.Option(help="Profile of the device; measured here where absent.")]
ServerProfile = Annotated[Path | None, typer.Option(help="Profile of the server; measured here where absent.")]

Slowdown = Annotated[
    float | None,
    typer.Option(help=f"The device is this many times slower than its profile says; {DEFAULT_SLOWDOWN:g} without one."),
]
Runs = Annotated[int, typer.Option(min=1, help="Runs of every part where a profile is measured here.")]


@dataclass(frozen=True)
class MachinesAsked:
    """A model and where the profiles of the two machines come from: files, names of devices that are known by their
    figures, or, with neither, measured here. `batch` and `batches` are the sizes to profile."""

    model: str
    _: KW_ONLY
    batch: int = 1
    device_profile: Path | None = None
    server_profile: Path | None = None
    slowdown: float | None = None
    runs: int = 5
    threads: int = 1
    batches: Sequence[int] = ()
    device: str | None = None
    server: str | None = None

    @property
    def files(self) -> Mapping[str, Path]:
        """The profiles that are files."""
        paths = {"device": self.device_profile, "server": self.server_profile}
        return {which: path for which, path in paths.items() if path is not None}

    @property
    def named(self) -> Mapping[str, str]:
        """The machines that are known by their figures. Raises BadInput for one that has a profile besides."""
        names = {"device": self.device, "server": self.server}
        for which in self.files:
            if names[which] is not None:
                raise BadInput(f"give --{which} or --{which}-profile, not both")
        return {which: name for which, name in names.items() if name is not None}

    @property
    def sizes(self) -> tuple[int, ...]:
        """All batch sizes, in order."""
        return tuple(sorted({self.batch, *self.batches}))


@dataclass(frozen=True)
class Machines:
    """The model, ready here unless both machines are only known by their figures, and both profiles."""

    model: Model
    opened: Engine | None
    device: Profile
    server: Profile

    @property
    def engine(self) -> Engine:
        """Raises BadInput where nothing was made ready to run."""
        if self.opened is None:
            raise BadInput(
                "with --device and --server nothing runs here, so nothing can be timed or written by running"
            )
        return self.opened


def machines_of(
    asked: MachinesAsked,
    *,
    codecs: Sequence[str] = (),
    limits: Limits | None = None,
    exits: bool = False,
    fold: bool = False,
) -> Machines:
    """Load the model, read the profiles that are given, compute those of the devices that are named, and measure the
    others here; `codecs` are timed besides the usual ones, with `exits` what each exit needs, and with `fold`, for few
    bits, the network without its normalisations. What the model does not allow (a batch, a node that `limits` name, few
    bits) is refused before anything is measured."""
    named = asked.named
    model = load_model(asked.model)
    if fold:
        need_quantisable(model)
        model = fused(model)
    for graph in [graph_of(model, size) for size in asked.sizes]:
        if limits is not None and limits.private_until is not None:
            tensors_before(graph, limits.private_until)
    opened = None if len(named) == 2 else _opened(model, asked.threads)
    given = {which: computed(model, text, asked.sizes) for which, text in named.items()}
    given |= {which: read_profile(which, path, model) for which, path in asked.files.items()}
    how = Measuring(asked.sizes, asked.runs, timed_codecs(codecs), exits=exits)
    here = _measured(opened, how) if opened is not None and len(given) < 2 else None
    device = given.get("device", here)
    server = given.get("server", here)
    assert device is not None
    assert server is not None
    factor = asked.slowdown if asked.slowdown is not None else (1.0 if "device" in given else DEFAULT_SLOWDOWN)
    if "device" not in given and asked.slowdown is None:
        err.print(f"no device profile: the device is declared {factor:g}× slower than this machine (--slowdown)")
    return Machines(model, opened, slowed(device, factor), server)


def _opened(model: Model, threads: int) -> Engine:
    with progress_bar("preparing") as progress:
        return Engine.open(model, threads=threads, progress=progress)


def read_profile(which: str, path: Path, model: Model) -> Profile:
    found = read_json(path, Profile)
    if found.fingerprint != model.fingerprint:
        fold = "; for plans with --distortions profile it with --fold" if found.model == model.name else ""
        raise BadInput(f"the {which} profile is of {found.model}, not of {model.name} as it is here{fold}")
    if not found.complete:
        raise BadInput(f"the {which} profile is not complete; finish it with isthmus profile --resume")
    return found


def slowed(profile: Profile, factor: float) -> Profile:
    """The profile of a machine `factor` times slower. Raises BadInput for a factor that is no slow-down."""
    machine = profile.machine.model_copy(update={"slowdown": slow_down(profile.machine.slowdown * slow_down(factor))})
    return profile.model_copy(update={"machine": machine})


def timed_codecs(more: Sequence[str]) -> tuple[str, ...]:
    """What a profile times: the usual codecs, and these."""
    return tuple(dict.fromkeys((*CODECS, *more)))


def _measured(engine: Engine, how: Measuring) -> Profile:
    with progress_bar("profiling here") as progress:
        return measure(engine, how, taken=today(), clock=time.perf_counter, progress=progress)

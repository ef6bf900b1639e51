"""What `isthmus plan` needs for planners that choose bit widths: tables, what may be lost, how the device computes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli.losses import Losses, read_losses
from isthmus.errors import BadInput
from isthmus.files import read_json
from isthmus.plan import Limits, Problem
from isthmus.plan.types import USUAL_ERRORS
from isthmus.profile.devices import find_device
from isthmus.profile.devices.widths import WidthWork
from isthmus.profile.regression import is_regression
from isthmus.quant import Distortions

DistortionTables = Annotated[
    Path | None, typer.Option("--distortions", help="What fewer bits do to each layer: the file of isthmus quantize.")
]
MaxLoss = Annotated[
    str | None, typer.Option(help="Accuracy that fewer bits may cost, as 1% or 0.01; 1% where nothing is said.")
]
LossErrors = Annotated[
    float,
    typer.Option(
        help="Standard errors that a measured loss must keep away from --max-loss; 0 takes it as it was measured."
    ),
]
MaxDistortion = Annotated[float | None, typer.Option(min=0, help="Greatest sum of distortions.")]
LossFile = Annotated[
    Path | None,
    typer.Option(
        "--losses",
        help="Measured losses: the file that --data writes and goes on with, or a JSON object of solution name → "
        "share, as 0.004.",
    ),
]
Narrow = Annotated[
    float, typer.Option(help="A measured device takes this many times its float time with 8 bits or fewer, as 0.35.")
]
Literally = Annotated[
    bool, typer.Option("--literal", help="Working set and sum of distortions as Auto-Split prints them.")
]
Arrivals = Annotated[float | None, typer.Option(help="Inputs a second, for dads; without, one at a time.")]
Compare = Annotated[bool, typer.Option("--compare", help="The baselines as well, in the table of solutions.")]


@dataclass(frozen=True)
class BitOptions:
    """What was asked for; `device` is the name of a device known by its figures."""

    tables: Distortions | None = None
    losses: Mapping[str, float] = field(default_factory=dict)
    agreed: frozenset[str] = frozenset()
    give_or_take: Mapping[str, float] = field(default_factory=dict)
    sample_bytes: Mapping[tuple[str, str], float] = field(default_factory=dict)
    loss: float | None = None
    loss_errors: float = USUAL_ERRORS
    distortion: float | None = None
    literal: bool = False
    narrow: float = 1.0
    arrivals_hz: float | None = None
    device: str | None = None

    def limits(self, limits: Limits) -> Limits:
        """With what may be lost."""
        return replace(limits, loss=self.loss, loss_errors=self.loss_errors, distortion=self.distortion)

    def problem(self, problem: Problem) -> Problem:
        """With the tables, and with a device that can be asked for its seconds at any width."""
        if self.tables is not None:
            fingerprint = problem.machines[problem.home].profile.fingerprint
            if self.tables.fingerprint != fingerprint:
                raise BadInput(
                    f"the distortions are of {self.tables.model}, measured on another model than {problem.graph.name}; "
                    "measure them anew with isthmus quantize"
                )
        machines = list(problem.machines)
        work = None
        if self.device is not None and not is_regression(self.device):
            work = WidthWork(find_device(self.device), problem.graph)
        machines[problem.home] = replace(machines[problem.home], work=work, narrow=self.narrow)
        return replace(
            problem,
            machines=tuple(machines),
            distortions=self.tables,
            losses=self.losses,
            agreed=self.agreed,
            give_or_take=self.give_or_take,
            sample_bytes={**problem.sample_bytes, **self.sample_bytes},
            literal=self.literal,
            arrivals_hz=self.arrivals_hz,
        )


def bit_options(
    *,
    tables: Path | None,
    max_loss: str | None,
    losses: Path | None,
    narrow: float,
    loss_errors: float,
    max_distortion: float | None = None,
    literal: bool = False,
    arrivals: float | None = None,
    device: str | None = None,
) -> BitOptions:
    """The options, each read and checked."""
    if not 0 <= loss_errors < float("inf"):
        raise BadInput(f"--loss-errors is a number from 0 up, not {loss_errors:g}")
    for name, value in (("--narrow", narrow), ("--arrivals", arrivals)):
        if value is not None and not 0 < value < float("inf"):
            raise BadInput(f"{name} is a number above zero, not {value:g}")
    read = None if tables is None else read_json(tables, Distortions)
    known = Losses({}) if losses is None else read_losses(losses, read)
    return BitOptions(
        tables=read,
        losses=known.shares,
        agreed=known.agreed,
        give_or_take=known.give_or_take,
        sample_bytes=known.sample_bytes,
        loss=None if max_loss is None else share(max_loss),
        loss_errors=loss_errors,
        distortion=max_distortion,
        literal=literal,
        narrow=narrow,
        arrivals_hz=arrivals,
        device=device,
    )


def share(text: str) -> float:
    """0.01 from `1%` or `0.01`. Raises BadInput for anything that is no share from 0 to 1.

    >>> share("1%"), share("0.5")
    (0.01, 0.5)
    """
    number, percent = text.strip().removesuffix("%"), text.strip().endswith("%")
    try:
        value = float(number) / (100 if percent else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise BadInput(f"'{text[:40]}' is no share of accuracy such as 1% or 0.01")
    return value

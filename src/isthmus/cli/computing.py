"""Profiles of devices that are not here, for `profile` and `plan`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from isthmus.cli.common import err, today
from isthmus.errors import BadInput
from isthmus.graph import graph_of
from isthmus.model import Model
from isthmus.profile import Profile
from isthmus.profile.devices import computed_profile, find_device
from isthmus.profile.regression import is_regression, load_regression, profile_for, remarks

DeviceName = Annotated[
    str | None,
    typer.Option(
        "--device",
        help="Compute instead of measuring: a device by name, as eyeriss or edgent2018_device, FILE.toml, "
        "FILE.toml#NAME, or FILE.json of profile --regression.",
    ),
]
ServerName = Annotated[
    str | None, typer.Option("--server", help="The same for the server, as tpu.", show_default=False)
]
Bits = Annotated[int | None, typer.Option(min=1, max=64, help="Width of numbers there; the device's own where absent.")]


def computed(model: Model, device: str, batches: Sequence[int], bits: int | None = None) -> Profile:
    """The profile of a model on a device known by its figures or by its latency laws; what is doubtful about it goes to
    stderr. Raises BadInput for an unknown device or a bad batch."""
    if is_regression(device):
        if bits is not None:
            raise BadInput(f"--bits is for devices known by their figures; the laws of {device} are of float32")
        for remark in remarks(graph_of(model, max(batches)), load_regression(device)):
            err.print(remark, highlight=False)
        return profile_for(device, model, batches, taken=today())
    graphs = [graph_of(model, batch) for batch in batches]
    return computed_profile(find_device(device), graphs, model.fingerprint, taken=today(), bits=bits)

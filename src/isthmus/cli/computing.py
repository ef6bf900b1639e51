"""Profiles of devices that are not here, for `profile` and `plan`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from isthmus.cli.common import today
from isthmus.graph import graph_of
from isthmus.model import Model
from isthmus.profile import Profile
from isthmus.profile.devices import computed_profile, find_device

DeviceName = Annotated[
    str | None,
    typer.Option(
        "--device", help="Compute instead of measuring: a device by name, as eyeriss, or FILE.toml, FILE.toml#NAME."
    ),
]
ServerName = Annotated[
    str | None, typer.Option("--server", help="The same for the server, as tpu.", show_default=False)
]
Bits = Annotated[int | None, typer.Option(min=1, max=64, help="Width of numbers there; the device's own where absent.")]


def computed(model: Model, device: str, batches: Sequence[int], bits: int | None = None) -> Profile:
    """The profile of a model on a device known by its figures. Raises BadInput for an unknown device or a bad batch."""
    graphs = [graph_of(model, batch) for batch in batches]
    return computed_profile(find_device(device), graphs, model.fingerprint, taken=today(), bits=bits)

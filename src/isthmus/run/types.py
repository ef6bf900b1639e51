"""What a run is made of: the engine as it is seen from here, the bounds of the wire, and the answer to a request."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from isthmus.engine.engine import Finish
from isthmus.errors import BadInput
from isthmus.graph import Cut, Graph
from isthmus.model.types import Model
from isthmus.record.types import Ran, Seconds, Step
from isthmus.units import is_whole

Array = NDArray[np.generic]
Arrays = Mapping[str, Array]

Mode = Literal["auto", "prefer_on_device", "only_on_device", "prefer_on_server", "only_on_server", "private"]
MODES: tuple[Mode, ...] = (
    "auto",
    "prefer_on_device",
    "only_on_device",
    "prefer_on_server",
    "only_on_server",
    "private",
)

PROTOCOL = 2
"""Version of the fast path. Both sides must speak the same one. 2: an answer begins with packed numbers."""
STREAM_METHOD = "/isthmus.v1.Split/Stream"


class Runner(Protocol):
    """What client and server need of an engine (`isthmus.engine.Engine` is one). May be called from any thread."""

    @property
    def model(self) -> Model: ...

    @property
    def graph(self) -> Graph:
        """At batch 1, or the batch that the model fixes."""

    @property
    def cuts(self) -> tuple[Cut, ...]:
        """Cuts that are ready, `@input` and `@output` among them; others are built on demand."""

    @property
    def finishes(self) -> Finish:
        """How a request that the server did not answer ends here."""

    @property
    def slowdown(self) -> float:
        """The declared factor, 1 for the machine as it is: it holds for writing and reading tensors, too."""

    def whole(self, inputs: Arrays) -> dict[str, Array]: ...

    def head(self, cut_id: str, inputs: Arrays) -> dict[str, Array]:
        """The crossing tensors, and the outputs that are already made before the cut."""

    def tail(self, cut_id: str, tensors: Arrays) -> dict[str, Array]:
        """The outputs that are made after the cut."""

    def at_exits(self, outputs: Sequence[str]) -> Runner:
        """The same network as far as these outputs need it. Raises BadInput for one that is none."""

    def middle(self, start: Cut, end: Cut, tensors: Arrays) -> dict[str, Array]:
        """From the crossing tensors of one cut: those of a later one that did not cross there, and the outputs made
        between."""


@dataclass(frozen=True)
class Bounds:
    """What a server allows before it allocates anything. Defaults fit pictures and text, not video.

    `unready_cuts`: how many exits that the table of exits does not name may be built on request, for all clients
    together, and how many cuts that are not ready beside them within a minute. Raises BadInput for a number below 1
    (`unready_cuts`: below 0), and for one that is not whole.
    """

    message_bytes: int = 256 << 20
    header_bytes: int = 64 << 10
    batch: int = 64
    waiting: int = 64
    streams: int = 48
    unready_cuts: int = 16

    def __post_init__(self) -> None:
        for name in ("message_bytes", "header_bytes", "batch", "waiting", "streams", "unready_cuts"):
            least = 0 if name == "unready_cuts" else 1
            if not is_whole(value := getattr(self, name), least, sys.maxsize):
                raise BadInput(f"a server needs {name} of at least {least}, a whole number, not {value!r}")


@dataclass(frozen=True)
class Answer:
    """What the model says to one request, and how the request went."""

    outputs: dict[str, Array]
    """the caller's own, which may be changed, wherever they were computed"""
    step: Step
    """of the whole batch, where several requests were gathered into one"""
    wait_s: float = 0.0
    """how long this request waited for its batch to leave, before `step` begins"""
    exits: tuple[str, ...] = ()
    """where inputs may leave early: the exit at which each sample left. Its answer then stands under the name of the
    exit that the request was to go to at most"""

    @property
    def ran(self) -> Ran:
        """`device`, `split` or `server`."""
        return self.step.ran

    @property
    def cut(self) -> str:
        """Id of the cut that was used; `@output` when everything ran on the device."""
        return self.step.cut

    @property
    def exit(self) -> str | None:
        """The exit that answered, the deepest of a batch; None: the whole model did."""
        return self.step.exit

    @property
    def codec(self) -> str:
        """How the crossing tensors were written; `float32` (nothing changed) when nothing crossed."""
        return self.step.codec

    @property
    def cost(self) -> Seconds:
        """Where the time went, in seconds."""
        return self.step.seconds

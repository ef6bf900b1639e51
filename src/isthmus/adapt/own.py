"""A chooser of the user's own, by name: the same for the live client and for virtual time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from isthmus.errors import BadInput
from isthmus.own import function_called, made_by
from isthmus.plan.cost import CostTable
from isthmus.record.types import Choice, Chooser, Step, beliefs_of, check_chooser, probe_size_of


def is_own(name: str) -> bool:
    """Whether this names code of the user's own: `file.py:function`, and none of `cut:ID` and `server/jpeg:75`."""
    return ":" in name and not name.startswith(("cut:", "server/"))


def own_chooser(name: str, tables: Mapping[int, CostTable], deadline_s: float | None) -> Chooser:
    """What `file.py:function` makes of a cost table a batch size and the latency wanted (s, None: none).

    `isthmus.adapt.Unlearning` is a base for those that learn nothing. Raises BadInput where there is no such function
    or it fails, and for what it makes if that is no `Chooser`.
    """
    wanted = "a function that makes a chooser of (cost tables by batch size, deadline in seconds or None)"
    made = made_by(name, function_called(name), tables, deadline_s, wanted=wanted)
    check_chooser(made, f"what {name} made")
    return cast(Chooser, _Own(name, made))


class _Own:
    """A chooser of the user's own, otherwise as it is: where it fails, and what it answers with, is told as its own."""

    def __init__(self, name: str, inner: Chooser) -> None:
        self._name, self._inner = name, inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def choose(self, now_s: float, batch: int = 1) -> Choice:
        wanted = "what makes a Choice of (seconds, batch size)"
        made = made_by(f"choose of {self._name}", self._inner.choose, now_s, batch, wanted=wanted)
        if not isinstance(made, Choice):
            raise BadInput(f"choose of {self._name} answered with {type(made).__name__}; it must answer with a Choice")
        return made

    def observe(self, step: Step) -> None:
        made_by(f"observe of {self._name}", self._inner.observe, step, wanted="what takes a Step")

    def probe_bytes(self, now_s: float) -> int:
        wanted = "what makes a number of bytes of seconds"
        made = made_by(f"probe_bytes of {self._name}", self._inner.probe_bytes, now_s, wanted=wanted)
        return probe_size_of(made, self._name)

    @property
    def beliefs(self) -> tuple[float | None, float | None]:
        wanted = "a pair of uplink in bit/s and server load"
        made = made_by(f"beliefs of {self._name}", lambda: self._inner.beliefs, wanted=wanted)
        return beliefs_of(made, self._name)

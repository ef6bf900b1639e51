"""Breaking off what nobody needs any more."""

from __future__ import annotations

import threading
from types import TracebackType

from isthmus.engine.runtime import ort

_here = threading.local()


class Stop:
    """What a thread computes within `with stop:` another thread may break off with `stop.now()`. The network ends with
    the node it is at, and whoever runs it gets BadInput; from then on nothing else runs in there either."""

    def __init__(self) -> None:
        self._options = ort.RunOptions()

    def now(self) -> None:
        """Breaks it off; twice, or after the end, does no harm."""
        self._options.terminate = True

    def __enter__(self) -> None:
        _here.options = self._options

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _here.options = None


def run_options() -> ort.RunOptions | None:
    """For a run in this thread: those of the `Stop` it is within; None outside of any."""
    options: ort.RunOptions | None = getattr(_here, "options", None)
    return options

"""The first moment of the command line: streams and Ctrl-C are seen to before the seconds that imports take."""

from __future__ import annotations

import io
import os
import signal
import sys
from contextlib import suppress
from typing import NoReturn

INTERRUPTED = 130


def main() -> NoReturn:
    """The entry point of the command line. Imports nothing heavy before Ctrl-C ends it cleanly."""
    _settle_streams()
    try:
        ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # else whoever started this ignores it
        if ours:
            signal.signal(signal.SIGINT, _stop)
        from isthmus.cli.app import app_for
        from isthmus.cli.outcome import run_app

        app = app_for(next((word for word in sys.argv[1:] if not word.startswith("-")), ""))
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        run_app(app)
    except KeyboardInterrupt:  # a second one, while the first is being told of
        _stop()


def _stop(*_: object) -> NoReturn:
    """Ends this process at once, with nothing of ours to tidy up yet.

    An exception would not do while modules are imported: it is lost where Python may not raise (the callback that
    drops a module's lock, a finalizer), and what is imported may take it for a missing module.
    """
    with suppress(OSError):
        os.write(2, b"isthmus: interrupted\n")
    os._exit(INTERRUPTED)


def _settle_streams() -> None:
    """Stands in for a stream that was closed, and lets a narrow one print what it can of every character."""
    while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass  # else the next file that is opened would get the stream's number, and what libraries print
    os.close(handle)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
    # surrogateescape: in the C locale
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors in ("strict", "surrogateescape"):
        sys.stdout.reconfigure(errors="replace")

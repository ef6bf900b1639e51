"""Running a command to its exit code: one clear sentence for a failure, and none of Python's own for a lost stream."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from typing import Any, NoReturn, TextIO, cast

import typer
from rich.text import Text

from isthmus.cli.common import err
from isthmus.cli.entry import INTERRUPTED
from isthmus.errors import BadInput, IsthmusError


class _Watched:
    """A stream that remembers why it could not take what was printed."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        return int(self._tried(self._stream.write, text))

    def flush(self) -> None:
        self._tried(self._stream.flush)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _tried(self, call: Callable[..., Any], *args: str) -> Any:
        try:
            return call(*args)
        except OSError as error:
            self.error = error
            raise


def run_app(app: typer.Typer) -> NoReturn:
    """Run the command line: failures of ours become one sentence on stderr and their exit code. Nobody reading on what
    is printed is no failure."""
    printed, told = _Watched(sys.stdout), _Watched(sys.stderr)
    with redirect_stdout(cast(TextIO, printed)), redirect_stderr(cast(TextIO, told)):
        code = _outcome(app, printed, told)
        code = _let_go(told, _let_go(printed, code))
    raise SystemExit(code)


def _outcome(app: typer.Typer, *streams: _Watched) -> int:
    try:
        # Not `app()`: it makes exit codes of its own of Ctrl-C and of a pipe that nobody reads any more.
        command = typer.main.get_command(app)
        with command.make_context("isthmus", sys.argv[1:]) as context:
            command.invoke(context)
    except typer.Exit as left:
        return left.exit_code
    except SystemExit as left:  # so rich ends where a pipe is not read any more
        if any(isinstance(stream.error, BrokenPipeError) for stream in streams):
            return 0
        if isinstance(left.code, str):  # somebody else's code may leave with a sentence
            _complain(left.code)
            return IsthmusError.exit_code
        return left.code or 0
    except IsthmusError as error:
        _complain(str(error))
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        _complain("interrupted")
        return INTERRUPTED
    except MemoryError:
        _complain("this machine has not the memory for that; a smaller --batch or model takes less")
        return BadInput.exit_code
    except Exception as error:
        if any(error is stream.error for stream in streams):
            return 0  # told of when the stream is let go
        if hasattr(error, "show") and hasattr(error, "exit_code"):  # a usage error of the option parser
            with suppress(OSError):
                error.show()
            return int(error.exit_code)
        if os.environ.get("ISTHMUS_TRACEBACK"):
            raise
        _complain(f"{type(error).__name__}: {error} (a bug of isthmus; ISTHMUS_TRACEBACK=1 shows where)")
        return 70
    return 0


def _let_go(stream: _Watched, code: int) -> int:
    """The exit code once a stream took all. One that cannot is closed, or Python would tell of it again at its end."""
    with suppress(OSError):
        stream.flush()
    error = stream.error
    if error is None:
        return code
    with suppress(OSError):
        stream.close()
    if isinstance(error, BrokenPipeError):
        return code
    _complain(f"cannot write what is printed: {error.strerror or error}")
    return code or BadInput.exit_code


def _complain(sentence: str) -> None:
    if not sys.stderr.closed:
        with suppress(OSError):
            err.print(Text.assemble(("isthmus:", "bold red"), f" {sentence}"), soft_wrap=True)

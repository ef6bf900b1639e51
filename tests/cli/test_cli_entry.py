"""What the command line owes to whoever started it: a clean end by Ctrl-C at any moment, and streams that are closed,
full, narrow or read by nobody."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import IO, Any

import pytest
from conftest import Call

from isthmus.record import Journal

_AT = """
import signal, sys

class At:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            {what}

{before}
sys.argv = ["isthmus", "inspect", "zoo:tiny", "--json"]
sys.meta_path.insert(0, At())
from isthmus.cli import main
main()
"""
_DROPPED = "type('Dropped', (), {'__del__': lambda _: signal.raise_signal(signal.SIGINT)})()"
"""Ctrl-C while a finalizer runs, where an exception is told of and lost."""
_TAKEN = "\n            ".join(
    (
        "try:",
        "    signal.raise_signal(signal.SIGINT)",
        "except BaseException as error:",
        "    raise ImportError from error",
    )
)


def isthmus(*words: object, stdout: int | IO[bytes] = subprocess.PIPE, **environment: str) -> Any:
    """The command line as a process of its own: its exit code and what it said."""
    command = [sys.executable, "-m", "isthmus", *map(str, words)]
    env = os.environ | environment
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, env=env, check=False)


@pytest.mark.parametrize(
    ("module", "what"),
    [
        ("isthmus.cli.app", "signal.raise_signal(signal.SIGINT)"),
        ("onnx", _DROPPED),
        ("onnx", _TAKEN),
    ],
)
def test_ctrl_c_while_modules_are_imported_ends_it_cleanly(module: str, what: str) -> None:
    code = _AT.format(module=module, what=what, before="")
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (130, "", "isthmus: interrupted\n")


def test_ctrl_c_that_is_ignored_stays_so() -> None:
    raised = "signal.raise_signal(signal.SIGINT)"
    ignored = _AT.format(module="onnx", what=raised, before="signal.signal(signal.SIGINT, signal.SIG_IGN)")
    ran = subprocess.run([sys.executable, "-c", ignored], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("{")


def test_ctrl_c_in_a_command_is_said_in_one_line(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("isthmus.cli.inspect.load_model", lambda *_, **__: signal.raise_signal(signal.SIGINT))
    assert call("inspect", "zoo:tiny") == (130, "", "isthmus: interrupted\n")


@pytest.mark.parametrize("words", [("inspect", "zoo:tiny", "--json"), ("inspect", "no.onnx")])
def test_a_closed_stdout_is_nowhere_and_no_failure(words: tuple[str, ...]) -> None:
    shell = ["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-m", "isthmus", *words]
    ran = subprocess.run(shell, stderr=subprocess.PIPE, text=True, check=False)
    wanted = (3, "isthmus: no.onnx is not there; give the path of an .onnx file\n") if "no.onnx" in words else (0, "")
    assert (ran.returncode, ran.stderr) == wanted


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize(("words", "unbuffered"), [(("--help",), "1"), (("inspect", "zoo:tiny", "--json"), "")])
def test_a_full_disk_under_stdout_is_one_sentence(words: tuple[str, ...], unbuffered: str) -> None:
    with Path("/dev/full").open("wb") as full:
        ran = isthmus(*words, stdout=full, PYTHONUNBUFFERED=unbuffered)
    assert ran.returncode == 2
    assert ran.stderr == b"isthmus: cannot write what is printed: No space left on device\n"


@pytest.mark.parametrize(("words", "unbuffered"), [(("--help",), ""), (("inspect", "zoo:tiny", "--json"), "1")])
def test_nobody_reading_on_is_no_failure(words: tuple[str, ...], unbuffered: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as unread:
        ran = isthmus(*words, stdout=unread, PYTHONUNBUFFERED=unbuffered)
    assert (ran.returncode, ran.stderr) == (0, b"")


def test_characters_that_a_narrow_stdout_lacks_are_replaced() -> None:
    ran = isthmus("inspect", "zoo:tiny", PYTHONIOENCODING="ascii")
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert b"MACs" in ran.stdout


def test_the_c_locale_prints_what_it_can(tmp_path: Path) -> None:
    narrow = partial(isthmus, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    ran = narrow("inspect", "zoo:mobilenet_v2")
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert b"MACs" in ran.stdout
    with Journal(tmp_path / "run.jsonl"):
        pass
    ran = narrow("report", tmp_path / "run.jsonl", "--out", tmp_path / "mö.html")
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert b"m??.html" in ran.stdout.replace(b"\n", b"")
    assert (tmp_path / "mö.html").exists()

"""The command line starts quickly: what a verb does not need is not imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Call

from isthmus.cli.app import VERBS, app_for

_LOADED = """
import sys
from isthmus.cli import main
sys.argv = ["isthmus", *{words!r}]
try:
    main()
finally:
    print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("words", "heavy"),
    [
        (["--version"], ["numpy", "onnx", "onnxruntime", "grpc", "isthmus.model"]),
        (["--help"], ["numpy", "onnx", "onnxruntime", "grpc", "isthmus.model"]),
        (["inspect", "zoo:tiny"], ["sympy", "grpc", "torch"]),
    ],
)
def test_what_is_not_needed_is_not_imported(words: list[str], heavy: list[str]) -> None:
    code = _LOADED.format(words=words, heavy=heavy)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stderr.strip() == "[]"


def test_every_verb_is_listed_with_what_its_own_help_begins_with(call: Call) -> None:
    code, listed, _ = call("--help")
    assert code == 0
    for verb in VERBS:
        mentioned, whole = (
            next(c for c in app_for(asked).registered_commands if c.name == verb) for asked in ("", verb)
        )
        assert mentioned.callback is not None
        assert whole.callback is not None
        assert (mentioned.callback.__doc__ or "").split() == (whole.callback.__doc__ or "").split()
        assert f" {verb} " in listed


def test_a_verb_behind_dashes_is_the_verb(call: Call) -> None:
    code, said, _ = call("--", "inspect", "zoo:tiny", "--json")
    assert code == 0
    assert '"parameters"' in said


def test_a_mistyped_verb_is_guessed(call: Call) -> None:
    code, _, said = call("inspct", "zoo:tiny")
    assert code == 2
    assert "inspect" in said


def test_a_planner_that_leaves_with_a_sentence_has_it_told(call: Call, tmp_path: Path) -> None:
    (tmp_path / "leaves.py").write_text("def plan(problem):\n    raise SystemExit('no licence for that')\n")
    code, _, said = call("plan", "zoo:tiny", "--planner", f"{tmp_path / 'leaves.py'}:plan", "--runs", 1)
    assert code == 1
    assert "isthmus: no licence for that" in said

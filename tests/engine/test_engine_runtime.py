"""Running a network tells nobody: nothing is written about it outside isthmus' own folders."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_RUN = """
from isthmus.engine import Engine
from isthmus.model import load_model
engine = Engine.open(load_model("zoo:tiny"), cuts="none")
engine.whole(engine.model.random_inputs())
"""


def test_nothing_is_written_down_about_what_is_run(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache"), "ISTHMUS_CACHE": str(tmp_path / "own")}
    kept = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    run = subprocess.run([sys.executable, "-c", _RUN], env=kept | home, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"own"}

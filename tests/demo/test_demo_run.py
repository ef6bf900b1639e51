"""The main job as `make demo` runs it, for ten seconds: nothing lost, nothing wrong, and a page about it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_the_demo_loses_nothing(tmp_path: Path) -> None:
    words = ["demo", "--out", str(tmp_path / "demo"), "--seconds", "10", "--json"]
    ran = subprocess.run([sys.executable, "-m", "isthmus", *words], capture_output=True, text=True, check=False)
    summary = json.loads(ran.stdout)
    assert summary == json.loads((tmp_path / "demo" / "summary.json").read_text())
    asked = {"requests", "answered", "lost", "wrong", "cuts_used", "p50_s", "p99_s", "ran"}
    assert asked <= summary.keys()
    assert summary["lost"] == summary["wrong"] == 0
    assert summary["answered"] == summary["requests"] == summary["verified"] > 10
    assert summary["ran"]["device"] > 0, "the server is killed on the way"
    assert ran.returncode == (0 if len(summary["cuts_used"]) >= 3 else 1), ran.stderr
    page = (tmp_path / "demo" / "report.html").read_text()
    assert "No answer was lost" in page

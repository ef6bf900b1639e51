"""Every code block of the README and the docs is run: shell by bash, Python by Python, make by its targets."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "examples").rglob("*.md")),
]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PLAIN = {"", "text"}
"""Blocks that show something and are not meant to be run; they must not look like a command."""


def blocks() -> list[tuple[str, str, str]]:
    found = []
    for page in PAGES:
        for number, match in enumerate(BLOCK.finditer(page.read_text(encoding="utf-8"))):
            name = f"{page.relative_to(ROOT)}#{number}"
            found.append((name, match.group(1), match.group(2)))
    return found


def environment() -> dict[str, str]:
    scripts = Path(sys.executable).parent
    return {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}


@pytest.mark.skipif(shutil.which("make") is None or shutil.which("bash") is None, reason="needs make and bash")
def test_every_block_runs_in_the_order_in_which_it_is_read(tmp_path: Path) -> None:
    """In one folder: later blocks use what earlier ones made, as a reader would. The examples lie beside it."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    for name, kind, text in blocks():
        if kind in ("bash", "sh"):
            run_shell(name, text, tmp_path)
        elif kind == "python":
            command = [sys.executable, "-W", "error", "-c", text]
            ran = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False)
            assert ran.returncode == 0, f"{name}: {ran.stderr}"


def run_shell(name: str, text: str, place: Path) -> None:
    """A block of commands; a block of `make` only has to name targets that are there (the tests are one of them)."""
    if text.lstrip().startswith("make"):
        targets = [w for line in text.splitlines() for w in line.split("#")[0].split()[1:]]
        ran = subprocess.run(["make", "-n", *targets], cwd=ROOT, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, f"{name}: {ran.stderr}"
        return
    said = place / "said.txt"
    with said.open("w") as file:  # a pipe would stay open as long as a server that the block leaves running
        command = ["bash", "-euo", "pipefail", "-c", text]
        process = subprocess.Popen(
            command, cwd=place, env=environment(), start_new_session=True, stdout=file, stderr=subprocess.STDOUT
        )
        try:
            code = process.wait(timeout=240)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert code == 0, f"{name}: {said.read_text()}"


def test_no_block_escapes() -> None:
    for name, kind, text in blocks():
        assert kind in {"bash", "sh", "python", "json", *PLAIN}, f"{name}: what language is '{kind}'?"
        if kind in PLAIN:
            assert not re.search(r"^(isthmus|make|pip|import|from) ", text, re.MULTILINE), f"{name} looks like code"
    kinds = {kind for _, kind, _ in blocks()}
    assert {"bash", "python"} <= kinds, "the README shows commands and Python"


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", BLOCK.sub("", page.read_text(encoding="utf-8"))):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}, which is not there"

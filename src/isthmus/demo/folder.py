"""The folder a demo writes to: nobody else's files in it are replaced."""

from __future__ import annotations

import shutil
from pathlib import Path

from isthmus.errors import BadInput

_MARK = ".isthmus-demo"
"""Says that what stands beside it was left by a demo."""
_LEFT = ("bundle", "journal.jsonl", "report.html", "summary.json")


def claim(folder: Path) -> None:
    """Make the folder, or find that a demo may replace in it what it would. Raises BadInput where something of these
    names stands there that no demo left, and where the folder cannot be made."""
    there = [folder / name for name in _LEFT if (folder / name).exists() or (folder / name).is_symlink()]
    if there and not (folder / _MARK).is_file():
        raise BadInput(f"{there[0]} was not left by a demo, which would replace it: give another folder with --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _MARK).touch()
    except OSError as error:
        raise BadInput(f"cannot make {folder}: {(error.strerror or str(error)).lower()}") from error


def clear(folder: Path) -> None:
    """Take away what an earlier demo left in a folder that was claimed, and nothing else. Raises BadInput where it
    cannot."""
    for old in (folder / name for name in _LEFT):
        try:
            if old.is_dir() and not old.is_symlink():
                shutil.rmtree(old)
            else:
                old.unlink(missing_ok=True)
        except OSError as error:
            raise BadInput(f"cannot replace {old}: {(error.strerror or str(error)).lower()}") from error

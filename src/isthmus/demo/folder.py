"""The folder a demo writes to: nobody else's files in it are replaced."""

from __future__ import annotations

import shutil
from pathlib import Path

from isthmus.errors import BadInput

_MARK = ".isthmus-demo"
"""Says that this folder is a demo's own."""
_LEFT = ("bundle", "journal.jsonl", "report.html", "summary.json")


def claim(folder: Path) -> None:
    """Make the folder, or take one that is empty or that a demo had before: nobody's files stand there then. Raises
    BadInput for any other, and where it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / _MARK).is_file() and any(folder.iterdir()):
            raise BadInput(f"{folder} was not left by a demo, which would replace what is there: give a new --out")
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

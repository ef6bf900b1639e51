"""The cache of optimised networks: made at start-up for one CPU and one runtime version, never shipped.

An entry is a folder whose name is the hash of everything it depends on. It is written beside its place and renamed
into it, so two processes that open the same model at once both find a whole entry; every file's size and hash stand
in its `entry.json`, with a hash of what is said there, and an entry that does not match is made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from isthmus.errors import BadInput
from isthmus.files import sha256_of

FORMAT = 3
"""Part of every key: raise it when what is stored changes."""
_NOTE = "entry.json"
_NONSENSE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""What comes of reading a note that is none."""
_OURS = re.compile(r"[0-9a-f]{32}|\.[0-9a-f]{8}-.+|\.(broken|optimising|old)-.+")
"""Names this module gives: an entry, one that is being made or making way. Nothing else is looked at, or deleted."""


def default_folder() -> Path:
    """`$ISTHMUS_CACHE`, else `$XDG_CACHE_HOME/isthmus`, else `~/.cache/isthmus`.

    Raises BadInput where neither is set and this user has no home.
    """
    named = os.environ.get("ISTHMUS_CACHE")
    if named:
        return Path(named)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "isthmus"
    except RuntimeError as error:
        raise BadInput(
            "this user has no home folder: say by ISTHMUS_CACHE where optimised networks are kept"
        ) from error


@cache
def cpu() -> str:
    """Model and instruction sets of this CPU, as one line: an optimised network belongs to them."""
    wanted: dict[str, str] = {}
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("model name", "flags", "Features", "CPU part"):
                wanted.setdefault(name.strip(), value.strip())
    except OSError:
        wanted["processor"] = platform.processor()
    return "; ".join([platform.machine(), *wanted.values()])


def key_of(parts: Mapping[str, object]) -> str:
    """The name of the entry for these ingredients."""
    text = json.dumps({"format": FORMAT, **{k: str(v) for k, v in parts.items()}}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def entry(
    root: Path, key: str, make: Callable[[Path], Mapping[str, Any]], later: Collection[str] = ()
) -> tuple[Path, dict[str, Any]]:
    """The folder of an entry and its notes, made by `make(folder)` when it is not there or not whole.

    `make` fills an empty folder and returns notes (JSON values). Of the files named in `later` only the size is
    checked; see `check_file`. Raises BadInput when `root` cannot be written.
    """
    place = root / key
    notes = _read(place, later)
    if notes is not None:
        with suppress(OSError):  # another user's, or a read-only place
            os.utime(place / _NOTE)
        return place, notes
    try:
        root.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{key[:8]}-", dir=root))
    except OSError as error:
        raise BadInput(f"the cache folder {root} cannot be written ({error}); set ISTHMUS_CACHE") from error
    try:
        made = dict(make(fresh))
        _write_note(fresh, made)
        _move_into(fresh, place, later)
    except OSError as error:
        raise BadInput(f"the cache folder {root} cannot take a new entry ({error}); set ISTHMUS_CACHE") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return place, made


@dataclass(frozen=True)
class Kept:
    """What stands in a cache: whole entries, and what a process that was killed left behind."""

    path: Path
    bytes: int
    opened_s: float
    """Of the last time it was opened, or written to where it is no entry; seconds since 1970."""


def kept(root: Path) -> list[Kept]:
    """What stands in a cache folder, the longest unopened first. What vanishes while this looks is left out. Raises
    BadInput when it cannot be read."""
    try:
        return sorted(_kept(root), key=lambda one: one.opened_s)
    except OSError as error:
        raise BadInput(f"the cache folder {root} cannot be read ({error}); set ISTHMUS_CACHE") from error


def _kept(root: Path) -> Iterator[Kept]:
    for place in root.iterdir() if root.is_dir() else ():
        if not (place.is_dir() and _OURS.fullmatch(place.name)):
            continue
        with suppress(FileNotFoundError):
            size = sum(file.stat().st_size for file in place.rglob("*") if file.is_file())
            note = place / _NOTE
            yield Kept(place, size, (note if note.exists() else place).stat().st_mtime)


def prune(root: Path, before_s: float) -> list[Kept]:
    """Delete what was last opened before this moment, and tell what that was.

    An entry that a running process has open keeps working there; only a cut it has never built can no longer be. Raises
    BadInput for what cannot be deleted.
    """
    gone = [one for one in kept(root) if one.opened_s < before_s]
    for one in gone:
        aside = root / f".old-{one.path.name.lstrip('.')}"
        try:
            one.path.rename(aside)  # at once: nobody may find half an entry
            shutil.rmtree(aside)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise BadInput(f"{one.path} cannot be deleted: {error}") from error
    return gone


def check_file(place: Path, name: str) -> None:
    """Raise BadInput when a file of an entry is not what was written, or is gone."""
    try:
        whole = sha256_of(place / name) == _stored(place)["files"][name]["sha256"]
    except FileNotFoundError as error:
        raise BadInput(f"{place} was deleted while it was in use; start again") from error
    except (OSError, *_NONSENSE):
        whole = False
    if not whole:
        raise BadInput(f"{place / name} is damaged; delete {place} and start again")


def _move_into(fresh: Path, place: Path, later: Collection[str]) -> None:
    """Put a whole entry in its place. Someone else's whole entry may be there first; a broken one makes way."""
    for _ in range(3):
        try:
            fresh.rename(place)
        except OSError:
            if _read(place, later) is not None:
                return
            broken = Path(tempfile.mkdtemp(prefix=".broken-", dir=place.parent))
            with suppress(FileNotFoundError):  # another process moved it away first
                place.rename(broken / "entry")
            shutil.rmtree(broken, ignore_errors=True)
        else:
            return
    raise BadInput(f"the cache entry {place} cannot be replaced; delete it")


def _write_note(folder: Path, notes: Mapping[str, Any]) -> None:
    files = {p.name: {"bytes": p.stat().st_size, "sha256": sha256_of(p)} for p in sorted(folder.iterdir())}
    (folder / _NOTE).write_text(json.dumps({"files": files, "notes": notes, "sha256": _said(files, notes)}))


def _said(files: Any, notes: Any) -> str:
    """Hash of what an entry says of itself."""
    return hashlib.sha256(json.dumps([files, notes], sort_keys=True).encode()).hexdigest()


def _stored(place: Path) -> dict[str, Any]:
    """What an entry says of itself. Raises OSError or one of _NONSENSE."""
    stored = json.loads((place / _NOTE).read_text())
    if stored["sha256"] != _said(stored["files"], stored["notes"]):
        raise ValueError(f"{place} does not say what was written")
    return dict(stored)


def _read(place: Path, later: Collection[str]) -> dict[str, Any] | None:
    """The notes of a whole entry, None for one that is absent or damaged."""
    try:
        stored = _stored(place)
        for name, said in stored["files"].items():
            if (place / name).stat().st_size != said["bytes"]:
                return None
            if name not in later and sha256_of(place / name) != said["sha256"]:
                return None
        notes = stored["notes"]
    except (OSError, *_NONSENSE):
        return None
    return notes if isinstance(notes, dict) else None

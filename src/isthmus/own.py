"""Code of the user's own, by name: run because somebody typed it, never because a file or the network said so."""

from __future__ import annotations

import importlib
import importlib.util
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from isthmus.errors import BadInput, IsthmusError


def function_called(name: str) -> Callable[..., Any]:
    """The function or class that `place:function` names: in a file (`mine.py:nearest`), or in a module that can be
    imported (`lab.planners:nearest`). Raises BadInput where there is none."""
    place, _, function = name.rpartition(":")
    found = getattr(_module(place), function, None)
    if not callable(found):
        raise BadInput(f"{place} has no function '{function}'")
    return found  # type: ignore[no-any-return]


def made_by(name: str, function: Callable[..., Any], *given: Any, wanted: str) -> Any:
    """What a function called so makes of this. Raises BadInput where it fails; `wanted` says what it must be."""
    try:
        return function(*given)
    except IsthmusError:
        raise
    except Exception as error:  # somebody else's code: it may raise anything
        raise BadInput(f"{name} raised {_told(error)}; it must be {wanted}") from error


def _module(place: str) -> ModuleType:
    try:
        return _file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    except IsthmusError:
        raise
    except (ImportError, ValueError) as error:
        raise BadInput(f"{place or 'a module without a name'} cannot be imported: {error}") from error
    except Exception as error:
        raise BadInput(f"{place} cannot be run: it raised {_told(error)}") from error


def _file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise BadInput(f"there is no file {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _told(error: Exception) -> str:
    """What somebody else's code raised, and where."""
    said = f"{type(error).__name__}: {error}"
    if isinstance(error, SyntaxError):  # says where itself
        return said
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{said} ({Path(last.filename).name}, line {last.lineno})"

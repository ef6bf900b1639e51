"""Code of the user's own, by name: run because somebody typed it, never because a file or the network said so."""

from __future__ import annotations

import importlib
import importlib.util
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
        raise BadInput(f"{name} raised {type(error).__name__}: {error}; it must be {wanted}") from error


def _module(place: str) -> ModuleType:
    path = Path(place)
    if path.suffix != ".py":
        try:
            return importlib.import_module(place)
        except (ImportError, ValueError) as error:
            raise BadInput(f"{place or 'a module without a name'} cannot be imported: {error}") from error
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise BadInput(f"there is no file {place}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

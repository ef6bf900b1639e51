"""Regressions by name or file, and profiles from them: the 2018 pair ships with isthmus."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from isthmus.errors import BadInput
from isthmus.files import read_json
from isthmus.graph import graph_of
from isthmus.model import Model
from isthmus.profile.regression.predict import predict
from isthmus.profile.regression.types import Regression
from isthmus.profile.types import Profile

_NEARLY = 0.8
_FOLDER = Path(__file__).with_name("data")


def shipped_regressions() -> tuple[str, ...]:
    """Names of the regressions that ship with isthmus."""
    return tuple(sorted(p.stem for p in _FOLDER.glob("*.json")))


def is_regression(text: str) -> bool:
    """Does `text` name a regression (a shipped one or nearly so, or a .json file), and not a device of figures?"""
    return text.endswith(".json") or bool(get_close_matches(text, shipped_regressions(), 1, _NEARLY))


def load_regression(text: str | Path) -> Regression:
    """The regression of that name or in that file. Raises BadInput for an unknown name or a file that is wrong."""
    name = str(text)
    if name.endswith(".json"):
        return read_json(Path(name), Regression)
    names = shipped_regressions()
    if name in names:
        return read_json(_FOLDER / f"{name}.json", Regression)
    near = get_close_matches(name, names, 1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}, and files that end in .json"
    raise BadInput(f"there is no regression '{name}'; {hint}")


def profile_for(
    device_file: str | Path,
    model: Model,
    batches: Sequence[int],
    *,
    taken: str,
) -> Profile:
    """The profile of a model on the device of a regression, by its name or file. Raises BadInput."""
    regression = load_regression(device_file)
    graphs = [graph_of(model, batch) for batch in batches]
    return predict(graphs, regression, model.fingerprint, taken=taken)

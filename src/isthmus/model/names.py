"""What a person types to say which model: `zoo:resnet50`, `light:resnet50`, `torchvision:…`, `timm:…`, or a file."""

from __future__ import annotations

import difflib
from pathlib import Path

from isthmus.errors import BadModel
from isthmus.model.light import light_model, light_models
from isthmus.model.onnx_file import InputShapes, load_model_file
from isthmus.model.types import Model
from isthmus.model.zoo import ZOO


def load_model(
    name_or_path: str | Path, *, weights: bool = True, seed: int = 0, shapes: InputShapes | None = None
) -> Model:
    """The model of that name or in that file.

    `weights=False` gives shapes only: quick, for inspection and planning. `seed` chooses the weights of `zoo:` and
    `light:` networks; `shapes` fixes open dimensions of a file's inputs. Raises BadModel (unknown name, unusable file)
    or Missing (`torchvision:`, `timm:` without the torch extra).
    """
    scheme, colon, name = str(name_or_path).partition(":")
    if colon and scheme in _SCHEMES and isinstance(name_or_path, str):
        if shapes:
            raise BadModel(f"{name_or_path} has fixed shapes; shapes can be given for files only")
        return _named(scheme, name, weights=weights, seed=seed)
    if isinstance(name_or_path, str) and name_or_path in ZOO and not Path(name_or_path).exists():
        raise BadModel(f"there is no file {name_or_path}; did you mean zoo:{name_or_path}?")
    return load_model_file(name_or_path, weights=weights, shapes=shapes)


def zoo_names() -> tuple[str, ...]:
    """All `zoo:` names, in the order of the table."""
    return tuple(f"zoo:{name}" for name in ZOO)


_SCHEMES = ("zoo", "light", "torchvision", "timm")


def _named(scheme: str, name: str, *, weights: bool, seed: int) -> Model:
    if scheme == "zoo":
        _known(scheme, name, tuple(ZOO))
        return ZOO[name](weights=weights, seed=seed)
    if scheme == "light":
        _known(scheme, name, light_models())
        return light_model(name, weights=weights, seed=seed)
    from isthmus.model.torch_module import from_library

    return from_library(scheme, name, seed=seed)


def _known(scheme: str, name: str, names: tuple[str, ...]) -> None:
    if name not in names:
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.4) or list(names)
        raise BadModel(f"there is no {scheme}:{name}; try {', '.join(f'{scheme}:{n}' for n in near)}")

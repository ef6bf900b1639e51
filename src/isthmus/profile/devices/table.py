"""Devices by name, from the file that ships with isthmus or from one of the user's own."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from isthmus.errors import BadInput
from isthmus.files import read_within
from isthmus.profile.devices.types import Device

_SHIPPED = Path(__file__).with_name("devices.toml")
_MOST_BYTES = 1 << 20
_ADAPTER: TypeAdapter[Device] = TypeAdapter(Annotated[Device, Field(discriminator="kind")])


def find_device(text: str) -> Device:
    """The device called `text`: a name (`eyeriss`), a TOML file that holds one device, or `FILE#NAME`.

    Raises BadInput for a name that is not known (with the nearest one), or a file that cannot be read or is wrong.
    """
    path, _, name = text.rpartition("#")
    if not path and not text.endswith(".toml"):
        return _named(shipped(), text, "isthmus")
    file = path or text
    found = read_devices(Path(file))
    if path:
        return _named(found, name, file)
    if len(found) != 1:
        raise BadInput(f"{file} holds {len(found)} devices ({', '.join(found)}); say which, as {file}#NAME")
    return next(iter(found.values()))


@cache
def shipped() -> Mapping[str, Device]:
    """The devices that isthmus knows, by name."""
    return read_devices(_SHIPPED)


def read_devices(path: Path) -> dict[str, Device]:
    """All devices of a TOML file, by name. Raises BadInput naming the file, the entry and what is wrong with it."""
    try:
        tables = tomllib.loads(read_within(path, _MOST_BYTES).decode())
    except OSError as error:
        raise BadInput(f"cannot read devices from {path}: {error.strerror or error}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadInput(f"{path} is no TOML file of devices: {error}") from error
    return {name: _device(path, name, entry) for name, entry in tables.items()}


def _device(path: Path, name: str, entry: Any) -> Device:
    if not isinstance(entry, dict):
        raise BadInput(f"{path}: {name} must be a table of figures, [{name}]")
    try:
        return _ADAPTER.validate_python({**entry, "name": name})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(p) for p in first["loc"] if p not in ("systolic", "roofline")) or "kind"
        raise BadInput(f"{path}: {name}: {where}: {first['msg']}") from error


def _named(devices: Mapping[str, Device], name: str, where: str) -> Device:
    if name in devices:
        return devices[name]
    near = get_close_matches(name, devices, 1)
    hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(devices)}"
    raise BadInput(f"{where} knows no device '{name}'{hint}")

"""Opening a bundle: every file is hashed and every value checked before anything is used."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import onnx
from google.protobuf.message import DecodeError

from isthmus.bundle.types import (
    CLIPS_FILE,
    DEVICE_FILE,
    EXITS_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    PLAN_FILE,
    SEAL_FILE,
    SERVER_FILE,
    SHAPES_FILE,
    Clips,
    Manifest,
)
from isthmus.codec import PictureScale, make_codec
from isthmus.errors import BadBundle, BadInput
from isthmus.files import read_json, read_within, sha256_of, write_whole
from isthmus.model import Model, load_model, model_from_proto
from isthmus.plan import Plan
from isthmus.profile import ExitTable, Profile
from isthmus.quant import ChannelClip

_NEEDED = (MODEL_FILE, DEVICE_FILE, SERVER_FILE, PLAN_FILE, CLIPS_FILE)


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: its files were what the manifest says at that moment, and belong to one model."""

    path: Path
    manifest: Manifest
    device: Profile
    server: Profile
    plan: Plan
    clips: Mapping[str, ChannelClip]
    exits: ExitTable | None = None
    """how good the early exits are and when an input is sure enough; None where the model has none"""

    @property
    def pictures(self) -> dict[str, PictureScale]:
        """How picture inputs were normalised, by input name; what JPEG and WebP need."""
        return {k: PictureScale(v.mean, v.std) for k, v in self.manifest.pictures.items()}

    def _shapes(self) -> Model:
        """The network without its weights."""
        try:
            proto = onnx.ModelProto.FromString((self.path / SHAPES_FILE).read_bytes())
        except (OSError, DecodeError) as error:
            raise BadBundle(f"{self.path}: {SHAPES_FILE} is no network; pack the bundle again") from error
        return model_from_proto(proto, self.manifest.name, copy=False)

    def model(self, *, weights: bool = True) -> Model:
        """The model, under the name the bundle gives it. Raises BadBundle when it is not the one that was packed, and
        for its weights where this is a device's copy without them."""
        name = MODEL_FILE if weights or self.manifest.few_bits is None else SHAPES_FILE
        if not (self.path / name).is_file():
            raise BadBundle(f"{self.path} is a device's copy: it has no {name}; take the whole bundle")
        from_file = load_model(str(self.path / name), weights=weights) if name == MODEL_FILE else self._shapes()
        if weights and from_file.fingerprint != self.manifest.fingerprint:
            raise BadBundle(f"{self.path}: {name} is not the model that was packed; pack it again")
        made = Model(
            name=self.manifest.name,
            proto=from_file.proto,
            inputs=from_file.inputs,
            outputs=from_file.outputs,
            has_weights=from_file.has_weights,
            blocks=self.manifest.blocks,
        )
        made.__dict__["fingerprint"] = self.manifest.fingerprint  # of the whole model, where its weights are not read
        return made


def is_bundle(path: str | Path) -> bool:
    """Whether a bundle stands there, rather than anything else or nothing."""
    return os.path.isfile(Path(path, MANIFEST_FILE))  # noqa: PTH113 - False for a name that no folder can have


def open_bundle(path: str | Path) -> Bundle:
    """Open a bundle folder. Raises BadBundle, in one sentence, for anything that is not as it was packed."""
    path = Path(path)
    if not is_bundle(path):
        raise BadBundle(f"{path} is no bundle: it has no {MANIFEST_FILE}; make one with isthmus pack")
    try:
        _verify_manifest(path)
        manifest = read_json(path / MANIFEST_FILE, Manifest)
        _verify_said(path, manifest)
        _verify_files(path, manifest)
        bundle = Bundle(
            path=path,
            manifest=manifest,
            device=read_json(path / DEVICE_FILE, Profile),
            server=read_json(path / SERVER_FILE, Profile),
            plan=read_json(path / PLAN_FILE, Plan),
            clips=read_json(path / CLIPS_FILE, Clips).tensors,
            exits=read_json(path / EXITS_FILE, ExitTable) if EXITS_FILE in manifest.files else None,
        )
    except BadBundle:
        raise
    except BadInput as error:
        raise BadBundle(str(error)) from error
    except OSError as error:
        raise BadBundle(f"{path} cannot be read: {error.strerror or error}") from error
    parts: dict[str, Profile | Plan | ExitTable | None] = {
        "device profile": bundle.device,
        "server profile": bundle.server,
        "plan": bundle.plan,
        "table of exits": bundle.exits,
    }
    for name, part in parts.items():
        if part is not None and part.fingerprint != manifest.fingerprint:
            raise BadBundle(f"{path}: the {name} is of another model than {manifest.name}")
    return bundle


def seal(path: Path) -> None:
    """Write down the hash of a folder's manifest, which holds those of all else. Raises BadInput when it cannot be."""
    write_whole(path / SEAL_FILE, _sealed(path))


def _sealed(path: Path) -> bytes:
    return f"{sha256_of(path / MANIFEST_FILE)}  {MANIFEST_FILE}\n".encode()


def _verify_manifest(path: Path) -> None:
    for name in (MANIFEST_FILE, SEAL_FILE):
        if (path / name).is_symlink() or not (path / name).is_file():
            raise BadBundle(f"{path}: {name} is missing; copy the bundle again, or pack it again")
    wanted = _sealed(path)
    if read_within(path / SEAL_FILE, len(wanted)) != wanted:
        raise BadBundle(
            f"{path}: {MANIFEST_FILE} was changed after packing (its sha256 is not that of {SEAL_FILE}); copy the "
            "bundle again"
        )


def _verify_said(path: Path, manifest: Manifest) -> None:
    """What the manifest says by itself, before any file is looked at."""
    cuts = manifest.cuts
    if not cuts or len(set(cuts)) != len(cuts):
        raise BadBundle(f"{path}: the manifest must name at least one cut, and each once")
    for name in {*manifest.default_codecs, *(name for names in manifest.codecs.values() for name in names)}:
        make_codec(name)
    for row in manifest.pictures.values():
        PictureScale(row.mean, row.std)


def _verify_files(path: Path, manifest: Manifest) -> None:
    few = manifest.few_bits
    more = () if few is None else (SHAPES_FILE, *(part.file for part in few.parts))
    lacking = [n for n in (*_NEEDED, *more) if n not in manifest.files]
    if lacking:
        raise BadBundle(f"{path}: the manifest lacks {lacking[0]}")
    for name, entry in manifest.files.items():
        if PurePosixPath(name).name != name or name in (".", "..", MANIFEST_FILE):
            raise BadBundle(f"{path}: the manifest names '{name}', which is no plain file name")
        file = path / name
        if manifest.few_bits is not None and name.startswith(MODEL_FILE) and not file.exists():
            continue  # a device's copy
        if file.is_symlink() or not file.is_file():
            raise BadBundle(f"{path}: {name} is missing")
        size = file.stat().st_size
        if size != entry.bytes:
            raise BadBundle(f"{path}: {name} has {size} bytes instead of {entry.bytes}; copy the bundle again")
        if sha256_of(file) != entry.sha256:
            raise BadBundle(f"{path}: {name} was changed after packing (its sha256 differs); copy the bundle again")

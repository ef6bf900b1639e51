"""Packing: the model, how fast it is on both machines, the plan, and proof that its halves make the whole."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import onnx

from isthmus.bundle.few_bits import FewBits
from isthmus.bundle.folder import Bundle, is_bundle, open_bundle, seal
from isthmus.bundle.types import (
    CLIPS_FILE,
    DEVICE_FILE,
    EXITS_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    PLAN_FILE,
    SERVER_FILE,
    Clips,
    FileEntry,
    LinkRow,
    Manifest,
    PictureRow,
    SplitCheck,
)
from isthmus.codec import PictureScale
from isthmus.engine import Engine
from isthmus.engine.difference import relative
from isthmus.errors import BadBundle, BadInput
from isthmus.files import sha256_of, write_json
from isthmus.graph import INPUT, OUTPUT
from isthmus.link import Link
from isthmus.model import Model
from isthmus.model.types import Progress
from isthmus.plan import Plan
from isthmus.profile import AccuracyRow, ExitTable, Profile
from isthmus.quant import ChannelClip
from isthmus.version import __version__

TOLERANCE = 1e-4
"""Greatest difference between tail(head(x)) and the whole model, over the answer's greatest absolute value: float32
sums in another order. Measured at most 3e-7 on the networks tried, so a real mistake is far above it."""

_INLINE_BYTES = 1_500_000_000
"""Above this the weights stand in a file of their own: one protobuf message holds at most 2 GB."""


@dataclass(frozen=True)
class Contents:
    """What goes into a bundle besides the model itself."""

    device: Profile
    server: Profile
    plan: Plan
    link: Link
    clips: Mapping[str, ChannelClip] = field(default_factory=dict)
    clip_samples: int = 0
    codecs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    default_codecs: tuple[str, ...] = ("float32",)
    pictures: Mapping[str, PictureScale] = field(default_factory=dict)
    accuracy: tuple[AccuracyRow, ...] = ()
    exits: ExitTable | None = None
    few_bits: FewBits | None = None
    """what the device has instead of the model, where its part was given few bits"""


def pack(
    model: Model,
    engine: Engine,
    contents: Contents,
    out: Path,
    *,
    packed: str,
    force: bool = False,
    progress: Progress | None = None,
) -> Bundle:
    """Write the bundle folder `out` and open it again. `engine` runs `model` here.

    Every ready cut is run in two halves and compared with the whole model first; BadBundle when one differs. The
    folder appears whole or not at all; `packed` is its date. Raises BadInput when `out` exists (without `force`) or
    cannot be written.
    """
    there = os.path.exists(out)  # noqa: PTH110 - False for a name that no folder can have
    if there and not force:
        raise BadInput(f"{out} exists; give another --out or --force")
    if there and not is_bundle(out):
        raise BadInput(f"{out} exists and is no bundle; it is not replaced")
    out = Path(os.path.realpath(out))  # a link to a bundle stays one
    _check_exits(engine, contents.exits)
    few = contents.few_bits
    kept = [c.id for c in engine.cuts] if few is None else few.cuts
    checks = check_halves(engine, [c for c in kept if c not in (INPUT, OUTPUT)], progress)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
        try:
            _write(made, model, engine, contents, checks, packed)
            made.chmod(0o755)
            _swap(made, out)
        finally:
            shutil.rmtree(made, ignore_errors=True)
    except OSError as error:
        raise BadInput(f"cannot write {out}: {error.strerror or error}") from error
    return open_bundle(out)


def _check_exits(engine: Engine, table: ExitTable | None) -> None:
    """Raise BadInput for a table of exits that is not this model's."""
    for row in table.rows if table is not None else ():
        if row.output not in engine.graph.outputs:
            raise BadInput(f"{engine.model.name} has no output '{row.output[:80]}', which the table of exits names")
    if table is not None and table.fingerprint != engine.model.fingerprint:
        raise BadInput(f"the table of exits is of another model, {table.model}; make one with isthmus profile --exits")


def check_halves(engine: Engine, cuts: Sequence[str], progress: Progress | None = None) -> tuple[SplitCheck, ...]:
    """Run each cut in two halves on one seeded input and compare with the whole. Raises BadBundle beyond TOLERANCE."""
    inputs = engine.model.random_inputs(1)
    whole = engine.whole(inputs)
    found = []
    for done, cut in enumerate(cuts):
        made = engine.head(cut, inputs)
        answer = {**engine.tail(cut, made), **{k: v for k, v in made.items() if k in whole}}
        worst = max(relative(answer[k], whole[k]) for k in whole)
        if worst > TOLERANCE:
            raise BadBundle(f"cut {cut}: the halves differ from the whole model by {worst:.2g}, over {TOLERANCE:g}")
        found.append(SplitCheck(cut=cut, error=worst))
        if progress is not None:
            progress(done + 1, len(cuts), cut)
    return tuple(found)


def _write(
    folder: Path, model: Model, engine: Engine, contents: Contents, checks: tuple[SplitCheck, ...], packed: str
) -> None:
    _save_model(model.proto, folder / MODEL_FILE)
    write_json(folder / DEVICE_FILE, contents.device)
    write_json(folder / SERVER_FILE, contents.server)
    write_json(folder / PLAN_FILE, contents.plan)
    write_json(folder / CLIPS_FILE, Clips(samples=contents.clip_samples, tensors=dict(contents.clips)))
    if contents.exits is not None:
        write_json(folder / EXITS_FILE, contents.exits)
    few = contents.few_bits
    if few is not None:
        few.write(folder, model)
    files = {f.name: FileEntry(bytes=f.stat().st_size, sha256=sha256_of(f)) for f in sorted(folder.iterdir())}
    manifest = Manifest(
        isthmus=__version__,
        name=model.name,
        fingerprint=model.fingerprint,
        packed=packed,
        blocks=model.blocks,
        cuts=tuple(c.id for c in engine.cuts) if few is None else few.cuts,
        link=LinkRow.of(contents.link),
        codecs={k: tuple(v) for k, v in contents.codecs.items()},
        default_codecs=contents.default_codecs,
        pictures={k: PictureRow(mean=v.mean, std=v.std) for k, v in contents.pictures.items()},
        accuracy=contents.accuracy,
        checks=checks,
        few_bits=None if few is None else few.row,
        files=files,
    )
    write_json(folder / MANIFEST_FILE, manifest)
    seal(folder)


def _save_model(proto: onnx.ModelProto, path: Path) -> None:
    if proto.ByteSize() < _INLINE_BYTES:
        onnx.save_model(proto, str(path))
        return
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    onnx.save_model(copy, str(path), save_as_external_data=True, location=f"{MODEL_FILE}.data", size_threshold=1024)


def _swap(made: Path, out: Path) -> None:
    """Put the finished folder in place; an old bundle stays whole until the new one is there."""
    if not out.exists():
        made.rename(out)
        return
    old = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.old."))
    os.rename(out, old / "bundle")  # noqa: PTH104 - rename onto a new name, atomic within the folder
    made.rename(out)
    shutil.rmtree(old, ignore_errors=True)

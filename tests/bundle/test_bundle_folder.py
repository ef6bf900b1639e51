"""Packing and opening: what is packed opens, and whatever was changed on the way is refused in one sentence."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from isthmus.bundle import Bundle, open_bundle
from isthmus.bundle.folder import seal
from isthmus.bundle.pack import Contents, check_halves, pack
from isthmus.codec import Array
from isthmus.engine import Engine
from isthmus.errors import BadBundle, BadInput
from isthmus.graph import graph_of
from isthmus.link import Link
from isthmus.model import Model, load_model
from isthmus.plan import PLANNERS, problem_for
from isthmus.profile.calibrate import calibrate
from isthmus.profile.measure import Measuring, measure
from isthmus.profile.samples import Samples

LINK = Link(20e6, 20e6, 0.01)


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model("zoo:tiny")


@pytest.fixture(scope="module")
def engine(model: Model) -> Engine:
    return Engine.open(model)


@pytest.fixture(scope="module")
def contents(model: Model, engine: Engine) -> Contents:
    profile = measure(engine, Measuring(runs=1, codecs=("int8",)), taken="2026", clock=time.perf_counter)
    plan = PLANNERS["neurosurgeon"](problem_for(graph_of(model), profile, profile, LINK))
    samples = Samples(model.random_inputs(8))
    return Contents(profile, profile, plan, LINK, clips=calibrate(engine, samples, engine.cuts), clip_samples=8)


@pytest.fixture(scope="module")
def packed(model: Model, engine: Engine, contents: Contents, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return pack(model, engine, contents, tmp_path_factory.mktemp("packed") / "bundle", packed="2026")


@pytest.fixture
def copy(packed: Bundle, tmp_path: Path) -> Path:
    return Path(shutil.copytree(packed.path, tmp_path / "copy"))


def test_what_is_packed_opens_as_the_same_model(model: Model, packed: Bundle, contents: Contents) -> None:
    again = open_bundle(packed.path)
    assert again.model().fingerprint == model.fingerprint
    assert again.model().name == model.name
    assert again.model().blocks == model.blocks
    assert again.device == contents.device
    assert again.plan == contents.plan
    assert again.manifest.link.link() == LINK
    assert dict(again.clips) == dict(contents.clips)
    assert [c.cut for c in again.manifest.checks] == list(again.manifest.cuts[1:-1])


def test_the_opened_model_gives_the_same_answers(engine: Engine, packed: Bundle) -> None:
    inputs = engine.model.random_inputs(2)
    other = Engine.open(open_bundle(packed.path).model())
    for name, value in engine.whole(inputs).items():
        np.testing.assert_array_equal(value, other.whole(inputs)[name])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def _edit(path: Path, change: Callable[[dict[str, object]], object]) -> None:
    row = json.loads(path.read_text())
    change(row)
    path.write_text(json.dumps(row))


@pytest.mark.parametrize(
    "name", ["model.onnx", "device_profile.json", "server_profile.json", "plan.json", "clips.json"]
)
def test_a_changed_byte_is_found_in_every_file(copy: Path, name: str) -> None:
    _flip(copy / name)
    with pytest.raises(BadBundle, match=name.replace(".", r"\.")):
        open_bundle(copy)


@pytest.mark.parametrize("name", ["model.onnx", "plan.json"])
def test_a_missing_or_truncated_file_is_found(copy: Path, name: str) -> None:
    (copy / name).write_bytes((copy / name).read_bytes()[:-1])
    with pytest.raises(BadBundle, match="bytes instead of"):
        open_bundle(copy)
    (copy / name).unlink()
    with pytest.raises(BadBundle, match="is missing"):
        open_bundle(copy)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.update(version=2),
        lambda m: m.update(kind="something"),
        lambda m: m.update(surplus=1),
        lambda m: m.pop("fingerprint"),
        lambda m: m["files"].update({"../../etc/passwd": {"bytes": 1, "sha256": "0" * 64}}),
        lambda m: m["files"].update({"manifest.json": {"bytes": 1, "sha256": "0" * 64}}),
        lambda m: m["files"].update({"x" * 300: {"bytes": 1, "sha256": "0" * 64}}),
        lambda m: m["files"].pop("plan.json"),
        lambda m: m["files"]["plan.json"].update(bytes=-1),
        lambda m: m["link"].update(up_bps=0),
        lambda m: m.update(fingerprint="0" * 64),
        lambda m: m.update(cuts=[]),
        lambda m: m["cuts"].append(m["cuts"][0]),
        lambda m: m["codecs"].update({"@input": ["int9"]}),
        lambda m: m.update(default_codecs=["float31"]),
        lambda m: m.update(pictures={"x": {"mean": [0.5], "std": [0.0]}}),
    ],
)
def test_a_manifest_that_lies_is_refused(copy: Path, change: Callable[[dict[str, object]], object]) -> None:
    _edit(copy / "manifest.json", change)
    seal(copy)
    with pytest.raises(BadBundle) as caught:
        open_bundle(copy).model()
    assert "\n" not in str(caught.value)


def _enter(folder: Path, name: str) -> None:
    """Say of a file in the manifest what is true of it."""
    content = (folder / name).read_bytes()
    entry = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    _edit(folder / "manifest.json", lambda m: m["files"].update({name: entry}))  # type: ignore[attr-defined]
    seal(folder)


def test_a_file_outside_the_folder_is_not_taken_though_it_is_what_the_manifest_says(copy: Path) -> None:
    outside = copy.parent / "outside"
    (copy / "sub").mkdir()
    for file in (outside, copy / "sub" / "inside"):
        file.write_bytes(b"as it should be")
    written = (copy / "manifest.json").read_bytes()
    for name in ("../outside", str(outside), "sub/inside", f"./../{copy.name}/plan.json"):
        (copy / "manifest.json").write_bytes(written)
        _enter(copy, name)
        with pytest.raises(BadBundle, match="is no plain file name"):
            open_bundle(copy)


@pytest.mark.parametrize(
    ("name", "said"),
    [("device_profile.json", "device profile"), ("server_profile.json", "server profile"), ("plan.json", "plan")],
)
def test_what_was_made_for_another_model_is_refused_though_its_hash_is_right(copy: Path, name: str, said: str) -> None:
    _edit(copy / name, lambda row: row.update(fingerprint="0" * 64))
    _enter(copy, name)
    with pytest.raises(BadBundle, match=f"the {said} is of another model than"):
        open_bundle(copy)


def test_a_model_that_is_not_the_packed_one_is_refused_though_its_hash_is_right(copy: Path) -> None:
    onnx.save_model(load_model("zoo:tiny", seed=1).proto, str(copy / "model.onnx"))
    _enter(copy, "model.onnx")
    bundle = open_bundle(copy)
    with pytest.raises(BadBundle, match="is not the model that was packed"):
        bundle.model()


def test_any_byte_of_the_manifest_that_changed_is_found(copy: Path) -> None:
    written = (copy / "manifest.json").read_bytes()
    for at in range(0, len(written), 41):
        (copy / "manifest.json").write_bytes(written[:at] + bytes([written[at] ^ 1]) + written[at + 1 :])
        with pytest.raises(BadBundle, match="was changed after packing"):
            open_bundle(copy)


def test_the_hash_of_the_manifest_is_one_that_sha256sum_checks(copy: Path) -> None:
    hashed = hashlib.sha256((copy / "manifest.json").read_bytes()).hexdigest()
    assert (copy / "manifest.sha256").read_text() == f"{hashed}  manifest.json\n"
    for content in (b"", hashed.encode(), bytes(1000)):
        (copy / "manifest.sha256").write_bytes(content)
        with pytest.raises(BadBundle, match=r"was changed after packing|holds more than"):
            open_bundle(copy)
    (copy / "manifest.sha256").unlink()
    with pytest.raises(BadBundle, match=r"manifest\.sha256 is missing"):
        open_bundle(copy)


def test_a_folder_without_manifest_or_with_nonsense_is_no_bundle(tmp_path: Path) -> None:
    for content in (None, b"", b"{}", b"\xff\xfe", b"[" * 100_000):
        if content is not None:
            (tmp_path / "manifest.json").write_bytes(content)
            seal(tmp_path)
        with pytest.raises(BadBundle):
            open_bundle(tmp_path)


@pytest.mark.parametrize("name", ["plan.json", "manifest.json", "manifest.sha256"])
def test_a_link_out_of_the_folder_is_not_followed(copy: Path, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    shutil.move(copy / name, outside)
    (copy / name).symlink_to(outside)
    with pytest.raises(BadBundle, match="is missing"):
        open_bundle(copy)


def test_nothing_is_overwritten_without_being_asked(
    model: Model, engine: Engine, contents: Contents, copy: Path, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match="exists"):
        pack(model, engine, contents, copy, packed="2026")
    _flip(copy / "plan.json")
    assert pack(model, engine, contents, copy, packed="2027", force=True).manifest.packed == "2027"
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.tex").write_text("x")
    with pytest.raises(BadInput, match="is no bundle"):
        pack(model, engine, contents, precious, packed="2026", force=True)
    assert (precious / "thesis.tex").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["copy", "precious"], "no leftovers"


def test_a_link_to_a_bundle_is_followed_and_stays_one(
    model: Model, engine: Engine, contents: Contents, tmp_path: Path
) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "v1")
    for packed in ("2026", "2027"):  # a link that leads nowhere yet, and one to a bundle
        pack(model, engine, contents, link, packed=packed, force=True)
        assert link.is_symlink()
        assert open_bundle(tmp_path / "v1").manifest.packed == packed
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "v1"]


def test_a_place_that_cannot_be_written_is_named(
    model: Model, engine: Engine, contents: Contents, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file" / "bundle", tmp_path / ("x" * 300), Path("/proc/bundle")):
        with pytest.raises(BadInput, match=r"cannot write .*: \w+") as caught:
            pack(model, engine, contents, out, packed="2026")
        assert "\n" not in str(caught.value)
    with pytest.raises(BadBundle, match="is no bundle"):
        open_bundle(tmp_path / ("x" * 300))


def test_halves_that_do_not_make_the_whole_are_not_packed(engine: Engine) -> None:
    class Broken:
        model, cuts, graph = engine.model, engine.cuts, engine.graph
        whole, head = engine.whole, engine.head

        def tail(self, cut: str, tensors: dict[str, Array]) -> dict[str, Array]:
            return {k: np.multiply(v, 1.01) for k, v in engine.tail(cut, tensors).items()}

    with pytest.raises(BadBundle, match="differ from the whole model"):
        check_halves(Broken(), [engine.cuts[1].id])  # type: ignore[arg-type]


def halves_of(**outputs: list[float]) -> type:
    """An engine whose whole model gives a NaN in `y` and an infinity in `z`, and whose halves give these."""

    class Halved:
        model = load_model("zoo:tiny")

        def whole(self, inputs: dict[str, Array]) -> dict[str, Array]:
            return {"y": np.array([1.0, np.nan], np.float32), "z": np.array([np.inf, 1.0], np.float32)}

        def head(self, cut: str, inputs: dict[str, Array]) -> dict[str, Array]:
            return {}

        def tail(self, cut: str, tensors: dict[str, Array]) -> dict[str, Array]:
            return {name: np.array(value, np.float32) for name, value in outputs.items()}

    return Halved


def test_what_is_no_number_in_the_whole_may_be_none_in_the_halves() -> None:
    (check,) = check_halves(halves_of(y=[1.0, np.nan], z=[np.inf, 1.0])(), ["a"])
    assert check.error == 0


@pytest.mark.parametrize("wrong", [{"y": [1.0, 1.0]}, {"z": [np.nan, 1.0]}, {"z": [np.inf, 2.0]}, {"y": [np.nan] * 2}])
def test_what_differs_is_not_hidden_by_what_is_no_number(wrong: dict[str, list[float]]) -> None:
    with pytest.raises(BadBundle, match="cut a: the halves differ from the whole model by"):
        check_halves(halves_of(**{"y": [1.0, np.nan], "z": [np.inf, 1.0], **wrong})(), ["a"])

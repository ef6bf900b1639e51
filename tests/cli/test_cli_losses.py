"""`isthmus plan --data`: losses measured until the fastest good solution is known, kept, and read again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Call

from isthmus.codec import PictureScale
from isthmus.files import write_json
from isthmus.model import Model, digits_test
from isthmus.plan import Plan
from isthmus.profile.datasets import load_dataset
from isthmus.profile.distortion import measure_distortions
from isthmus.profile.samples import Samples

PLAN = ("plan", "zoo:digits", "--planner", "autosplit", "--device", "eyeriss", "--server", "tpu", "--up", "10kbit")
SHORT = ("--samples", 80, "--memory", "48KiB")


@pytest.fixture(scope="module")
def npz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits that are scarcely more than a few."""
    path = tmp_path_factory.mktemp("data") / "few.npz"
    images, labels = digits_test()
    np.savez(path, image=images[:60], labels=labels[:60])
    return path


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory, model_of: Callable[[str], Model]) -> Path:
    """As isthmus quantize measures them on digits to learn from."""
    learn = load_dataset("digits").train
    samples = Samples({"image": learn.pictures[:24].astype(np.float32) / 16}, learn.labels[:24])
    path = tmp_path_factory.mktemp("tables") / "tables.json"
    scale = PictureScale((0.0,), (1.0,))
    write_json(path, measure_distortions(model_of("zoo:digits"), samples, source="digits", picture=scale))
    return path


def test_the_pick_is_measured_and_so_is_what_is_faster(call: Call, tables: Path, tmp_path: Path) -> None:
    kept = tmp_path / "losses.json"
    words = (*PLAN, "--distortions", tables, "--max-loss", "1%", "--data", "digits", "--losses", kept, *SHORT, "--json")
    code, out, err = call(*words)
    assert code == 0, err
    assert "measured the loss of" in " ".join(err.split())
    assert re.search(r"a loss is known to ± \d\.\d\d%", " ".join(err.split()))
    found = Plan.model_validate_json(out)
    pick = next(s for s in found.solutions if s.cut == found.cuts[0] and s.bits == found.bits)
    assert pick.measured
    assert pick.judged_loss is not None
    assert pick.judged_loss <= 0.01
    assert "(measured" in found.why
    faster = [s for s in found.solutions if s.total_s < pick.total_s and s.front]
    assert all(s.measured and (s.judged_loss or 0) > 0.01 for s in faster)
    file = json.loads(kept.read_text(encoding="utf-8"))
    assert (file["kind"], file["samples"], file["labelled"]) == ("isthmus-losses", 80, True)
    assert pick.name in file["rows"]
    # the estimate alone is afraid of so few bits
    code, out, err = call(*(w for w in words if w not in ("--data", "digits", "--losses", kept, *SHORT[:2])))
    assert code == 0, err
    assert Plan.model_validate_json(out).cost.total_s > found.cost.total_s
    _goes_on(call, words, kept, tables, pick.name)


def _goes_on(call: Call, words: tuple[object, ...], kept: Path, tables: Path, pick: str) -> None:
    """Nothing is measured twice; what is missing is measured; a plan without data reads the file."""
    before = json.loads(kept.read_text(encoding="utf-8"))
    code, _, err = call(*words)
    assert code == 0, err
    assert "measured the loss of 0 solutions" in " ".join(err.split())
    fewer = {**before, "rows": {n: r for n, r in before["rows"].items() if n != pick}}
    kept.write_text(json.dumps(fewer), encoding="utf-8")
    code, _, err = call(*words)
    assert code == 0, err
    assert "measured the loss of 1 solutions" in " ".join(err.split())
    assert json.loads(kept.read_text(encoding="utf-8")) == before
    code, out, err = call(*PLAN, "--distortions", tables, "--losses", kept, "--memory", "48KiB", "--json")
    assert code == 0, err
    assert any(s.measured for s in Plan.model_validate_json(out).solutions)


def test_the_baselines_are_measured_too(call: Call, tables: Path) -> None:
    code, out, err = call(*PLAN, "--distortions", tables, "--data", "digits", *SHORT, "--compare", "--json")
    assert code == 0, err
    rows = {s.name: s for s in Plan.model_validate_json(out).solutions}
    assert all(rows[name].measured for name in ("u2", "u8", "cloud16", "jpeg:75", "webp:90"))
    assert (rows["u2"].loss or 0) > 0.1
    assert any(s.codec == "jpeg:75" and s.planner == "autosplit" for s in rows.values())


def test_without_labels_answers_are_held_against_the_whole_networks(call: Call, tables: Path, tmp_path: Path) -> None:
    blind = tmp_path / "blind.npz"
    np.savez(blind, image=digits_test()[0][:80])
    code, out, err = call(*PLAN, "--distortions", tables, "--data", blind, "--memory", "48KiB")
    assert code == 0, err
    assert "answers unlike the whole network's" in " ".join(out.split())


def test_what_the_tables_were_measured_on_does_not_judge(call: Call, tmp_path: Path, npz: Path) -> None:
    tables = tmp_path / "own.json"
    code, _, err = call("quantize", "zoo:digits", "--data", npz, "--samples", 20, "--out", tables, "--json")
    assert code == 0, err
    code, _, err = call(*PLAN, "--distortions", tables, "--data", npz, "--max-loss", "99%", "--json")
    assert code == 0, err
    assert "on 40 of few" in " ".join(err.split())
    every = {**json.loads(tables.read_text(encoding="utf-8")), "samples": 60}
    tables.write_text(json.dumps(every), encoding="utf-8")
    code, _, err = call(*PLAN, "--distortions", tables, "--data", npz, "--json")
    assert code == 2
    assert "all 60 samples of few were measured for the distortion tables" in " ".join(err.split())


def test_losses_of_something_else_are_refused(call: Call, tables: Path, tmp_path: Path, npz: Path) -> None:
    kept = tmp_path / "losses.json"
    words = (*PLAN, "--distortions", tables, "--losses", kept, "--max-loss", "50%")
    code, _, err = call(*words, "--data", npz, "--json")
    assert code == 0, err
    file = kept.read_text(encoding="utf-8")

    def refused(said: str, *more: object) -> None:
        code, _, err = call(*words, *more, "--json")
        assert code == 2
        assert said in " ".join(err.split())

    refused("losses on 60 samples of few, not on these 120 of digits", "--data", "digits", "--samples", 120)
    images, labels = digits_test()
    wrong = np.where(np.arange(60) < 10, 9 - labels[:60], labels[:60])
    for pictures, classes in ((images[:60] * 0.9, labels[:60]), (images[:60], wrong)):
        np.savez(tmp_path / "few.npz", image=pictures, labels=classes)
        refused("losses on 60 samples of few, not on these 60 of few", "--data", tmp_path / "few.npz")
    kept.write_text(json.dumps({k: v for k, v in json.loads(file).items() if k != "inputs"}), encoding="utf-8")
    refused("does not say which samples its losses were measured on", "--data", npz)
    code, _, err = call(*words, "--json")
    assert code == 0, err  # plans without data may still go by it
    kept.write_text(json.dumps({**json.loads(file), "tables": "0" * 16}), encoding="utf-8")
    refused("measured with other tables than these")
    kept.write_text(json.dumps({**json.loads(file), "fingerprint": "0" * 64}), encoding="utf-8")
    refused("measured with other network than these")
    kept.write_text(json.dumps({**json.loads(file), "rows": {"a": {"loss": 3}}}), encoding="utf-8")
    refused("is no measuredlosses: rows.a.loss")
    kept.write_text('{"a": 0.1}', encoding="utf-8")
    refused("was written by hand; measure into another file", "--data", npz)


def test_a_loss_that_is_badly_known_is_no_ground_to_pick_by(call: Call, tables: Path, tmp_path: Path) -> None:
    words = (*PLAN, "--distortions", tables, "--max-loss", "1.5%", "--data", "digits", *SHORT)
    picks = []
    for errors in (0, 1):
        code, out, err = call(*words, "--losses", tmp_path / "losses.json", "--loss-errors", errors, "--json")
        assert code == 0, err
        found = Plan.model_validate_json(out)
        pick = next(s for s in found.solutions if s.cut == found.cuts[0] and s.bits == found.bits)
        assert pick.loss is not None
        assert pick.loss + errors * (pick.give_or_take or 0.0) <= 0.015
        faster = [s for s in found.solutions if s.front and s.total_s < pick.total_s]
        assert all((s.judged_loss or 0.0) > 0.015 for s in faster)
        picks.append(pick)
    assert picks[0].total_s < picks[1].total_s
    assert (picks[0].loss or 0.0) + (picks[0].give_or_take or 0.0) > 0.015
    code, out, _ = call(*words, "--losses", tmp_path / "losses.json")
    assert code == 0
    assert re.search(r"loses -?\d\.\d\d% ± \d\.\d\d% \(measured", " ".join(out.split()))
    code, _, err = call(*words, "--loss-errors", "-1")
    assert (code, "--loss-errors is a number from 0 up, not -1" in err) == (2, True)


def test_what_was_given_up_under_a_strict_limit_is_measured_anew_under_a_lax_one(
    call: Call, tables: Path, tmp_path: Path
) -> None:
    kept, fresh = tmp_path / "kept.json", tmp_path / "fresh.json"
    words = (*PLAN, "--distortions", tables, "--data", "digits", "--samples", 160, "--memory", "48KiB", "--json")
    code, _, err = call(*words, "--max-loss", "0.2%", "--losses", kept)
    assert code == 0, err
    strict = json.loads(kept.read_text(encoding="utf-8"))["rows"]
    assert any(row["samples"] < 160 for row in strict.values())
    plans = []
    for losses in (kept, fresh):
        code, out, err = call(*words, "--max-loss", "93%", "--losses", losses)
        assert code == 0, err
        plans.append(Plan.model_validate_json(out))
    lax = json.loads(kept.read_text(encoding="utf-8"))["rows"]
    assert any(lax[name]["samples"] > row["samples"] for name, row in strict.items())
    assert plans[0].cuts == plans[1].cuts
    assert plans[0].bits == plans[1].bits
    code, _, err = call(*words, "--max-loss", "93%", "--losses", kept)
    assert code == 0, err
    assert "measured the loss of 0 solutions" in " ".join(err.split())


def test_data_of_another_range_is_refused(call: Call, tables: Path, tmp_path: Path) -> None:
    images, labels = digits_test()
    path = tmp_path / "other.npz"
    for arrays, said in (
        ({"image": -images[:80], "labels": labels[:80]}, "of 80 samples, no more than by chance: values from -1 to -0"),
        ({"image": images[:80] * 16}, "values of image from 0 to 16 are 16 times as large (rms) as those the"),
        ({"image": images[:80] / 9}, "values of image from 0 to 0.111111 are 0.111 times as large (rms) as those"),
        ({"image": images[:80, :, :4]}, "image is float32 (80, 1, 4, 8), not float32 (N, 1, 8, 8)"),
    ):
        np.savez(path, **arrays)
        code, out, err = call(*PLAN, "--distortions", tables, "--data", path, "--json")
        assert (code, out) == (2, ""), err
        assert said in " ".join(err.split())


def test_data_needs_tables_and_autosplit(call: Call, tables: Path) -> None:
    code, _, err = call(*PLAN, "--data", "digits")
    assert code == 2
    assert "give their tables with --distortions too" in " ".join(err.split())
    words = ["u8" if w == "autosplit" else w for w in PLAN]
    code, _, err = call(*words, "--distortions", tables, "--data", "digits")
    assert code == 2
    assert "what solutions of autosplit lose, not of u8" in " ".join(err.split())

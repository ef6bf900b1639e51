"""`isthmus quantize`, as people type it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Call

from isthmus.cli.measuring import Measuring, judging_samples
from isthmus.cli.quantize import table_samples
from isthmus.files import read_json
from isthmus.model import Model, digits_test
from isthmus.quant import Distortions


def test_tables_are_printed_and_written(call: Call, tmp_path: Path) -> None:
    to = tmp_path / "d.json"
    code, out, _ = call("quantize", "zoo:digits", "--bits", "2,8", "--samples", 16, "--out", to)
    assert code == 0
    assert "16 samples of digits, ranges by mse" in out
    assert "relu_2" in out
    assert read_json(to, Distortions).samples == 16
    code, out, _ = call("quantize", "zoo:digits", "--bits", "2,8", "--samples", 16, "--out", to, "--json")
    assert code == 0
    assert Distortions.model_validate(json.loads(out)) == read_json(to, Distortions)


def test_arrays_of_a_file_are_taken(call: Call, tmp_path: Path) -> None:
    images, labels = digits_test()
    np.savez(tmp_path / "some.npz", x=images[:20], labels=labels[:20])
    code, _, err = call("quantize", "zoo:digits", "--data", tmp_path / "some.npz", "--out", tmp_path / "d.json")
    assert code == 2
    assert "holds x; digits takes" in " ".join(err.split())


def test_random_inputs_are_taken_on_request_and_labelled(call: Call, tmp_path: Path) -> None:
    to = tmp_path / "d.json"
    code, out, _ = call("quantize", "zoo:tiny", "--random", "--samples", 3, "--range", "aciq", "--out", to, "--json")
    assert code == 0
    assert json.loads(out)["source"] == "random data"
    assert json.loads(out)["range"] == "aciq"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("zoo:tiny",), "random inputs only with --random"),
        (("zoo:tiny", "--random", "--data", "digits"), "--random stands in for --data"),
        (("zoo:tiny", "--random", "--bits", "9"), "bits 9 cannot be measured; give rising widths of 1 to 8"),
        (("zoo:tiny", "--random", "--bits", "8,4"), "bits 8,4 cannot be measured"),
        (("zoo:tiny", "--random", "--bits", "few"), "'few' is no list of bits such as 2,4,6,8"),
    ],
)
def test_bad_input_gets_one_sentence(words: tuple[str, ...], sentence: str, call: Call, tmp_path: Path) -> None:
    code, out, err = call("quantize", *words, "--out", tmp_path / "d.json")
    assert code == 2
    assert sentence in " ".join(err.split())
    assert not out
    assert not (tmp_path / "d.json").exists()


@pytest.mark.parametrize("data", ["", "digits", "npz"])
def test_nothing_that_tables_were_measured_on_judges(
    data: str, model_of: Callable[[str], Model], tmp_path: Path
) -> None:
    model = model_of("zoo:digits")
    if data == "npz":
        images, labels = digits_test()
        data = str(tmp_path / "some.npz")
        marked = images + np.arange(len(images), dtype=np.float32)[:, None, None, None] * 1e-6  # no two are equal
        np.savez(data, image=marked, labels=labels)
    seen, source = table_samples(model, data, "", 32, 0, random=False)
    tables = Distortions(model="digits", fingerprint="", bits=(8,), layers=(), samples=len(seen), source=source)
    judging, label = judging_samples(model, tables, Measuring(data or "digits"))
    assert (len(seen), label) == (32, source)
    assert not {x.tobytes() for x in seen.inputs["image"]} & {x.tobytes() for x in judging.inputs["image"]}

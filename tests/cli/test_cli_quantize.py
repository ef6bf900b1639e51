"""`isthmus quantize`, as people type it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Call

from isthmus.files import read_json
from isthmus.model import digits_test
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

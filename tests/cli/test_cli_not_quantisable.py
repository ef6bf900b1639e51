"""Models that cannot be given few bits, on the command line: quantised already, fed whole numbers, fed text,
in half or double precision.

Each verb says so in one sentence before it measures anything. Without few bits they are packed and run as they are.
Half or double precision behind the last layer with weights is no hindrance.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from conftest import Call
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

PAIR = ("--device", "eyeriss", "--server", "tpu", "--uplink", "3Mbit")
QUANTISED = "is quantised already ({0}); give the floating-point model it was made from"
WHOLE = "only a network that takes numbers of floating point can be quantised"
FLOATS = (
    "only a network that computes in float32, or behind its last weighted layer in float16 or float64, can be "
    "quantised: export it in float32"
)
TEXT = "has elements of type STRING; numbers of 8 to 64 bits can be taken"


BEHIND = {
    "double_answer": (TensorProto.DOUBLE, TensorProto.DOUBLE),
    "half_answer": (TensorProto.FLOAT16, TensorProto.FLOAT16),
    "half_behind": (TensorProto.FLOAT16, TensorProto.FLOAT),
}
"""What is computed in behind the last layer with weights, and what the answer is made of. The numbers of the first are
too large for float32."""


def _saved(
    path: Path, nodes: list[onnx.NodeProto], inputs: Mapping[str, tuple[int, Sequence[int | str]]], out: int
) -> None:
    rng = np.random.default_rng(0)
    stored: dict[str, NDArray[Any]] = {
        "w": rng.standard_normal((4, 3, 3, 3)).astype(np.float32),
        "levels": rng.integers(-100, 100, (4, 3, 3, 3)).astype(np.int8),
        "table": rng.standard_normal((20, 8)).astype(np.float32),
        "half": rng.standard_normal((4, 3, 3, 3)).astype(np.float16),
        "double": rng.standard_normal((8, 8)),
        "huge": np.array(1e100),
        "scale": np.array(0.05, np.float32),
        "middle": np.array(128, np.uint8),
        "zero": np.array(0, np.int8),
    }
    read = {name for node in nodes for name in node.input}
    ends = [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()]
    answer = helper.make_tensor_value_info("y", out, None)
    weights = [numpy_helper.from_array(v, name) for name, v in stored.items() if name in read]
    graph = helper.make_graph(nodes, path.stem, ends, [answer], weights)
    onnx.save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)


node = helper.make_node
PICTURE: dict[str, tuple[int, Sequence[int | str]]] = {"x": (TensorProto.FLOAT, ["N", 3, 8, 8])}
NODES = {
    "levels": [  # QuantizeLinear and DequantizeLinear around a convolution
        node("QuantizeLinear", ["x", "scale", "middle"], ["xq"]),
        node("DequantizeLinear", ["xq", "scale", "middle"], ["xd"]),
        node("DequantizeLinear", ["levels", "scale", "zero"], ["wd"]),
        node("Conv", ["xd", "wd"], ["y"]),
    ],
    "integers": [  # a convolution of integers
        node("QuantizeLinear", ["x", "scale", "middle"], ["xq"]),
        node("QLinearConv", ["xq", "scale", "middle", "levels", "scale", "zero", "scale", "middle"], ["c"], name="c"),
        node("DequantizeLinear", ["c", "scale", "middle"], ["y"]),
    ],
    "weights": [  # weights alone
        node("DequantizeLinear", ["levels", "scale", "zero"], ["wd"]),
        node("Conv", ["x", "wd"], ["y"]),
    ],
    "tokens": [node("Gather", ["table", "ids"], ["y"])],
    "bytes": [node("Cast", ["x"], ["f"], to=TensorProto.FLOAT), node("Conv", ["f", "w"], ["y"])],
    "mixed": [  # one input of floats, one of whole numbers
        node("Conv", ["x", "w"], ["c"]),
        node("Cast", ["k"], ["f"], to=TensorProto.FLOAT),
        node("Add", ["c", "f"], ["y"]),
    ],
    "half": [node("Conv", ["x", "half"], ["y"])],
    "double": [node("MatMul", ["x", "double"], ["y"])],
    "within": [  # float32 at both ends only
        node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16),
        node("Conv", ["h", "half"], ["c"]),
        node("Cast", ["c"], ["y"], to=TensorProto.FLOAT),
    ],
    "brain": [  # behind the last layer with weights, but no number that numpy has
        node("Conv", ["x", "w"], ["c"]),
        node("Cast", ["c"], ["b"], to=TensorProto.BFLOAT16),
        node("Cast", ["b"], ["y"], to=TensorProto.FLOAT),
    ],
    "text": [node("Identity", ["s"], ["y"])],
}
"""Models of a few nodes that nobody can quantise."""
INPUTS: dict[str, dict[str, tuple[int, Sequence[int | str]]]] = {
    "tokens": {"ids": (TensorProto.INT64, ["N", 6])},
    "bytes": {"x": (TensorProto.UINT8, ["N", 3, 8, 8])},
    "mixed": {**PICTURE, "k": (TensorProto.INT64, ["N", 4, 1, 1])},
    "half": {"x": (TensorProto.FLOAT16, ["N", 3, 8, 8])},
    "double": {"x": (TensorProto.DOUBLE, ["N", 3, 8, 8])},
    "text": {"s": (TensorProto.STRING, [4])},
}
"""What they take, where it is no PICTURE."""
ANSWERS = {"half": TensorProto.FLOAT16, "double": TensorProto.DOUBLE, "text": TensorProto.STRING}
"""What their answers are made of, where it is not float32."""


def _made(folder: Path, what: str) -> Path:
    """One of NODES, or of those BEHIND, which can be quantised."""
    path = folder / f"{what}.onnx"
    if what in BEHIND:
        kind, end = BEHIND[what]
        nodes = [
            node("Conv", ["x", "w"], ["c"]),
            node("GlobalAveragePool", ["c"], ["g"]),
            node("Flatten", ["g"], ["f"]),
            node("Cast", ["f"], ["d"], to=kind),
            *([node("Mul", ["d", "huge"], ["h"])] if kind == TensorProto.DOUBLE else [node("Softmax", ["d"], ["h"])]),
            node("Cast", ["h"], ["y"], to=end),
        ]
        _saved(path, nodes, PICTURE, end)
    else:
        _saved(path, NODES[what], INPUTS.get(what, PICTURE), ANSWERS.get(what, TensorProto.FLOAT))
    return path


REFUSED = [
    ("levels", 3, QUANTISED.format("QuantizeLinear makes xq")),
    ("integers", 3, QUANTISED.format("QuantizeLinear makes xq")),
    ("weights", 3, QUANTISED.format("DequantizeLinear makes wd")),
    ("tokens", 2, f"input ids of tokens is int64; {WHOLE}"),
    ("bytes", 2, f"input x of bytes is uint8; {WHOLE}"),
    ("mixed", 2, f"input k of mixed is int64; {WHOLE}"),
    ("half", 3, f"x of half is float16; {FLOATS}"),
    ("double", 3, f"x of double is float64; {FLOATS}"),
    ("within", 3, f"h of within is float16; {FLOATS}"),
    ("brain", 3, f"b of brain is bfloat16; {FLOATS}"),
    ("text", 3, TEXT),
]


@pytest.mark.parametrize(("what", "code", "said"), REFUSED)
def test_few_bits_are_refused_in_one_sentence(what: str, code: int, said: str, call: Call, tmp_path: Path) -> None:
    model = _made(tmp_path, what)
    tables, plan = tmp_path / "tables.json", tmp_path / "plan.json"
    before: tuple[tuple[object, ...], ...] = (
        ("quantize", "zoo:tiny", "--random", "--samples", 1, "--out", tables),
        ("plan", "zoo:tiny", "--planner", "autosplit", *PAIR, "--distortions", tables, "--out", plan),
    )
    for words in before:
        assert call(*words, "--json")[0] == 0
    to = ("--out", tmp_path / "made", "--json")
    verbs: tuple[tuple[object, ...], ...] = (
        ("quantize", model, "--random", "--samples", 1, *to),
        ("quantize", model, "--data", "digits", *to),
        ("plan", model, "--planner", "autosplit", *PAIR, *to),
        ("plan", model, "--planner", "autosplit", *PAIR, "--distortions", tables, *to),
        ("plan", model, "--planner", "u8", *PAIR, *to),
        ("pack", model, "--plan", plan, "--distortions", tables, *to),
        ("pack", model, "--planner", "autosplit", "--distortions", tables, *to),
    )
    for words in verbs:
        found, out, err = call(*words)
        assert found == code, (words, out, err)
        assert not out
        sentence = " ".join(err.split())
        assert sentence.startswith("isthmus: ")
        assert said in sentence, words
        assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("what", [what for what, *_ in REFUSED if what != "text"])
def test_without_few_bits_they_are_packed_by_a_plan_and_run(what: str, call: Call, tmp_path: Path) -> None:
    model, plan, bundle = _made(tmp_path, what), tmp_path / "plan.json", tmp_path / "bundle"
    for words in (
        ("plan", model, "--planner", "neurosurgeon", *PAIR, "--out", plan, "--json"),
        ("pack", model, "--plan", plan, "--out", bundle, "--runs", 1, "--json"),
        ("run", bundle, "--to", "127.0.0.1:1", "--mode", "only_on_device", "--requests", 2, "--verify", "--json"),
    ):
        code, out, err = call(*words)
        assert code == 0, err
    told = json.loads(out)
    assert (told["answered"], told["wrong"], told["verified"]) == (2, 0, 2)


@pytest.mark.parametrize("what", BEHIND)
def test_other_floats_behind_the_last_weights_stay_as_they_are(what: str, call: Call, tmp_path: Path) -> None:
    model, tables, plan, bundle = _made(tmp_path, what), *(tmp_path / n for n in ("tables.json", "plan.json", "bundle"))
    for words in (
        ("quantize", model, "--random", "--samples", 4, "--out", tables, "--json"),
        ("plan", model, "--planner", "u8", *PAIR, "--distortions", tables, "--out", plan, "--json"),
        ("pack", model, "--distortions", tables, "--memory", "10kB", "--runs", 1, "--out", bundle, "--json"),
        ("run", bundle, "--to", "127.0.0.1:1", "--mode", "only_on_device", "--requests", 2, "--verify", "--json"),
    ):
        code, out, err = call(*words)
        assert code == 0, err
    rows = {row["output"]: row for row in json.loads(tables.read_text())["layers"]}
    assert rows["c"]["outputs"]
    assert bool(rows["y"]["outputs"]) == (what == "half_behind")
    few = json.loads((bundle / "manifest.json").read_text())["few_bits"]["whole"]
    assert few["agrees"] == 1
    assert ("y" in few["bits"]["outputs"]) == (what == "half_behind")
    told = json.loads(out)
    assert (told["answered"], told["wrong"], told["verified"]) == (2, 0, 2)

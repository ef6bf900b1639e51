"""Names come from models, bundles and peers: whatever they hold, every command shows them as they are."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from cli_rig import Serving
from conftest import Call
from onnx import TensorProto, helper
from rich.table import Table
from rich.text import Text

from isthmus.bundle.folder import seal
from isthmus.cli.terminal import Terminal

CLOSING = "[/red]"
"""For a console that reads markup: the end of a style that never began."""
STEERING = "\x1b[31m:smile:"
SHOWN = "\N{REPLACEMENT CHARACTER}[31m:smile:"


def hostile_model(path: Path) -> Path:
    """Tensors, nodes and exits are called so that a console might obey."""
    nodes = [
        helper.make_node("Relu", ["[/x]"], [CLOSING], name=CLOSING),
        helper.make_node("Relu", [CLOSING], [STEERING], name=STEERING),
        helper.make_node("Sigmoid", [STEERING], ["[/early]"], name="[/sigmoid]"),
        helper.make_node("Neg", [STEERING], ["[/neg]"], name="[bold]"),
        helper.make_node("Relu", ["[/neg]"], ["[/y]"], name="[/last]"),
    ]
    given, early, last = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in ("[/x]", "[/early]", "[/y]")
    )
    graph = helper.make_graph(nodes, "g", [given], [early, last])
    onnx.save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`m.onnx`, its profile `p.json` and its bundle `b`, which is called CLOSING."""
    made = tmp_path_factory.mktemp("names")
    for words in (
        ["profile", hostile_model(made / "m.onnx"), "--out", made / "p.json", "--machine", CLOSING, "--batches", "1,2"],
        ["pack", made / "m.onnx", "--out", made / "b", "--device-profile", made / "p.json", "--server-profile",
         made / "p.json"],
    ):  # fmt: skip
        subprocess.run([sys.executable, "-m", "isthmus", *map(str, words)], check=True, capture_output=True)
    manifest = json.loads((made / "b" / "manifest.json").read_text())
    (made / "b" / "manifest.json").write_text(json.dumps(manifest | {"name": CLOSING}))
    seal(made / "b")
    return made


@pytest.fixture(scope="module")
def serving(folder: Path) -> Iterator[Serving]:
    started = Serving(folder / "b")
    yield started
    started.process.kill()
    started.process.communicate()


PROFILES = ["--device-profile", "p.json", "--server-profile", "p.json"]
WALK = [
    ["inspect", "m.onnx"],
    ["inspect", "m.onnx", "--granularity", "node"],
    ["inspect", "b"],
    ["profile", "m.onnx", "--out", "again.json", "--runs", "1", "--machine", CLOSING],
    ["plan", "m.onnx", *PROFILES],
    ["plan", "m.onnx", *PROFILES, "--planner", "dynamic", "--batches", "1,2"],
    ["plan", "m.onnx", *PROFILES, "--planner", "edgent", "--exits", "0.5,0.6", "--deadline", "1s"],
    ["plan", "m.onnx", *PROFILES, "--planner", "edgent_map", "--exits", "0.5,0.6", "--deadline", "1s"],
    ["pack", "m.onnx", *PROFILES, "--out", "packed"],
    ["simulate", "b", "--trace", "20Mbit:1s", "--requests", "3"],
    ["run", "b", "--requests", "3", "--journal", "j.jsonl"],
    ["run", "b", "--requests", "3", "--cut", CLOSING],
    ["run", "b", "--requests", "3", "--exit", "[/early]"],
    ["report", "j.jsonl"],
    ["probe"],
]


def test_every_command_shows_names_as_they_are(
    call: Call, folder: Path, serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    said = ""
    for words in WALK:
        there = {"run": ["--to", serving.address], "probe": [serving.address]}.get(words[0], [])
        code, out, err = call(*words, *there)
        assert code == 0, f"{words}: {err}"
        assert "\x1b" not in out + err, words
        said += out
    assert f"serves {CLOSING}" in said
    assert SHOWN in said
    assert "[/early]" in said


def test_a_server_says_what_it_serves(folder: Path) -> None:
    command = [sys.executable, "-m", "isthmus", "serve", str(folder / "b"), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        line = server.stdout.readline()
        server.kill()
        server.communicate()
    assert line.startswith(f"serving {CLOSING} on 127.0.0.1:")


def test_an_error_names_them_too(call: Call, folder: Path) -> None:
    code, _, err = call("run", folder / "b", "--exit", f"{CLOSING}{STEERING}")
    assert code == 2
    assert f"{CLOSING}{SHOWN}" in err


def test_what_steers_a_terminal_is_replaced_before_lines_are_laid_out(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("name", "", title=STEERING)
    table.add_row(STEERING, "")
    out = Terminal()
    out.print(table)
    out.print(Text.assemble((STEERING, "bold"), "\ton a line of its own\n"), STEERING, "ÿ → µ")
    printed = capsys.readouterr().out
    assert printed.count(SHOWN) == 4
    assert "\x1b" not in printed
    assert "ÿ → µ" in printed

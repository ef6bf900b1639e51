"""The commands as a person types them: tables, JSON, one sentence and an exit code for what cannot be."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import onnx
import pytest
from cli_rig import Serving
from conftest import Call
from onnx import helper

from isthmus.adapt import TableChooser, always_device
from isthmus.cli.app import VERBS
from isthmus.errors import BadInput, Unreachable
from isthmus.files import write_json
from isthmus.profile import Profile
from isthmus.record import Journal, Step, read_journal
from isthmus.run.awake import processors_awake


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cli") / "bundle"
    command = [sys.executable, "-m", "isthmus", "pack", "zoo:tiny", "--out", str(path), "--runs", "2", "--json"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(ran.stdout)["kind"] == "isthmus-bundle"
    assert "declared 4× slower" in ran.stderr
    return path


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example_and_json(call: Call, verb: str) -> None:
    code, out, _ = call(verb, "--help")
    assert code == 0
    assert "Example: isthmus " + verb in " ".join(out.split())
    assert "--json" in out


def test_inspect_says_what_the_network_is(call: Call) -> None:
    code, out, _ = call("inspect", "zoo:mobilenet_v2", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["input_bytes"] == 3 * 224 * 224 * 4
    assert found["parameters"] / 1e6 == pytest.approx(3.5, abs=0.05)
    assert found["macs"] / 1e9 == pytest.approx(0.30, abs=0.005)
    cut = found["cuts"][0]
    assert set(cut) >= {"after", "tensors", "ratio", "natural", "compressive", "fusion_safe"}
    assert set(cut["tensors"][0]) >= {"name", "shape", "bytes"}
    assert {c["fusion_safe"] for c in found["cuts"]} == {True, False}
    code, out, _ = call("inspect", "zoo:tiny", "--granularity", "node")
    assert code == 0
    assert "GMACs" in out


def test_profile_then_plan_with_it(call: Call, tmp_path: Path) -> None:
    profile = tmp_path / "p.json"
    code, out, _ = call("profile", "zoo:tiny", "--out", profile, "--runs", 2, "--batches", "1,2", "--json")
    assert code == 0
    assert set(json.loads(out)["batches"]) == {"1", "2"}
    assert json.loads(profile.read_text())["complete"]
    words = ["plan", "zoo:tiny", "--device-profile", profile, "--server-profile", profile]
    for planner in ("device_only", "server_only", "neurosurgeon", "mincut", "exhaustive"):
        code, out, err = call(*words, "--planner", planner, "--json")
        assert code == 0, err
        plan = json.loads(out)
        assert plan["planner"] == planner
        assert plan["cost"]["total_s"] > 0
        assert plan["why"]
    code, out, _ = call(*words, "--retime", 2, "--out", tmp_path / "plan.json")
    assert code == 0
    assert "sum" in out
    assert json.loads((tmp_path / "plan.json").read_text())["kind"] == "isthmus-plan"


def test_a_deadline_nobody_meets_says_how_far_off_it_is(call: Call, tmp_path: Path) -> None:
    profile = tmp_path / "p.json"
    assert call("profile", "zoo:tiny", "--out", profile, "--runs", 1)[0] == 0
    words = ["plan", "zoo:tiny", "--device-profile", profile, "--server-profile", profile]
    code, _, err = call(*words, "--deadline", "1ns", "--json")
    assert code == 5
    assert "nearest" in err or "comes nearest" in err


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["inspect", "zoo:nothing"], 3),
        (["inspect", "/no/such/file.onnx"], 3),
        (["plan", "zoo:tiny", "--up", "fast"], 2),
        (["plan", "zoo:tiny", "--up", "0"], 2),
        (["plan", "zoo:tiny", "--rtt", "nan"], 2),
        (["plan", "zoo:tiny", "--codecs", "int9"], 2),
        (["plan", "zoo:tiny", "--planner", "magic"], 2),
        (["plan", "zoo:tiny", "--slowdown", "-1"], 2),
        (["plan", "zoo:tiny", "--device-profile", "/no/such.json"], 2),
        (["profile", "zoo:tiny", "--batches", "1,x"], 2),
        (["pack", "zoo:tiny", "--picture", "half"], 2),
        (["serve", "/no/such/bundle"], 4),
        (["run", "/no/such/bundle"], 4),
        (["run", "/no/such/bundle", "--rate", "0/s"], 2),
        (["run", "/no/such/bundle", "--rate", "20/s", "--every", "1s"], 2),
        (["run", "/no/such/bundle", "--max-batch", "4", "--max-delay", "2h"], 2),
        (["pack", "zoo:tiny", "--batches", "0,2"], 2),
        (["report", "/no/such.jsonl"], 2),
        (["probe", "127.0.0.1:1", "--timeout", "1s"], 8),
        (["nonsense"], 2),
    ],
)
def test_bad_input_is_one_sentence_and_a_code(call: Call, words: list[str], code: int) -> None:
    got, out, err = call(*words)
    assert got == code
    assert "Traceback" not in err + out
    assert err.strip()


def test_serve_run_probe_report(call: Call, bundle: Path, tmp_path: Path) -> None:
    serving = Serving(bundle)
    journal, page = tmp_path / "run.jsonl", tmp_path / "page.html"
    words = ["run", bundle, "--to", serving.address, "--requests", 20, "--verify", "--journal", journal]
    code, out, err = call(*words, "--json")
    assert code == 0, err
    summary = json.loads(out)
    assert (summary["requests"], summary["answered"], summary["lost"], summary["wrong"]) == (20, 20, 0, 0)
    assert summary["verified"] == 20
    assert call(*words)[0] == 2, "a journal is not overwritten"
    code, out, _ = call("probe", serving.address, "--count", 2, "--json")
    assert code == 0
    assert len(json.loads(out)["probes"]) == 2
    code, out, _ = call("report", journal, "--out", page, "--plan", bundle / "plan.json", "--json")
    assert code == 0
    assert page.read_text().startswith("<!")
    code, out, _ = call("run", bundle, "--to", serving.address, "--requests", 3, "--cut", "@input", "--codec", "int8")
    assert code == 0
    assert "3 of 3 answered" in " ".join(out.split())
    code, _, err = call("serve", bundle, "--port", serving.port)
    assert code == 2
    assert "in use" in err
    assert serving.end(signal.SIGTERM) == 0


@pytest.mark.parametrize(("option", "value"), [("--cut", "@input"), ("--planner", "edgent_each")])
def test_who_decides_elsewhere_is_named_where_privacy_is_asked_for(
    call: Call, bundle: Path, option: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("isthmus.cli.deciding.each_chooser_of", lambda *_, **__: always_device())
    code, _, err = call("run", bundle, "--to", "127.0.0.1:1", "--private-until", "logits", option, value)
    assert code == 2
    assert f"{option} {value} may send what --private-until logits keeps here" in " ".join(err.split())


def test_a_full_disk_costs_lines_of_the_journal_and_no_answer(
    call: Call, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, write = tmp_path / "run.jsonl", Journal.write

    def full(self: Journal, step: Step) -> None:
        if step.id > 1:
            raise BadInput(f"cannot write the journal {self.path}: No space left on device")
        write(self, step)

    monkeypatch.setattr(Journal, "write", full)
    words = ["run", bundle, "--to", "127.0.0.1:1", "--requests", 5, "--journal", journal, "--json"]
    code, out, err = call(*words)
    assert code == 2
    assert json.loads(out)["answered"] == 5
    assert "lacks 3 lines" in " ".join(err.split())
    assert "No space left" in err
    assert "Traceback" not in err
    assert len(read_journal(journal)[1]) == 2


def test_a_bundle_with_a_changed_byte_is_not_served(call: Call, bundle: Path, tmp_path: Path) -> None:
    import shutil

    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    content = bytearray((copy / "model.onnx").read_bytes())
    content[100] ^= 1
    (copy / "model.onnx").write_bytes(bytes(content))
    code, _, err = call("serve", copy)
    assert code == 4
    assert "changed after packing" in err


def test_requests_are_gathered_into_batches(call: Call, tmp_path: Path) -> None:
    """Profiles at several batch sizes; callers without a pace fill every batch; all are answered and right."""
    bundle, journal = tmp_path / "bundle", tmp_path / "run.jsonl"
    code, out, err = call("pack", "zoo:tiny", "--out", bundle, "--runs", 1, "--batches", "2,4", "--json")
    assert code == 0, err
    assert set(json.loads((bundle / "device_profile.json").read_text())["batches"]) == {"1", "2", "4"}
    serving = Serving(bundle)
    words = ["run", bundle, "--to", serving.address, "--requests", 40, "--max-batch", 4, "--max-delay", "5s"]
    code, out, err = call(*words, "--verify", "--cut", "@input", "--journal", journal, "--json")
    assert code == 0, err
    found = json.loads(out)
    callers = found["callers"]
    assert (callers["asked"], callers["answered"], callers["failed"], callers["turned_away"]) == (40, 40, 0, 0)
    assert (callers["batches"], found["requests"], found["wrong"]) == (10, 10, 0)
    steps = [s for s in map(json.loads, journal.read_text().splitlines()[1:]) if s["kind"] == "request"]
    assert [s["batch"] for s in steps] == [4] * 10
    code, _, err = call(*words[:-2], "--max-batch", 1000)
    assert (code, "batches of up to 64, not 1000" in " ".join(err.split())) == (2, True)
    assert serving.end(signal.SIGTERM) == 0


def test_no_request_is_lost_when_the_server_is_killed_and_comes_back(bundle: Path, tmp_path: Path) -> None:
    serving = Serving(bundle)
    journal = tmp_path / "run.jsonl"
    command: list[Any] = [sys.executable, "-m", "isthmus", "run", bundle, "--to", serving.address]
    command += ["--requests", 100_000, "--every", "40ms", "--verify", "--cut", "@input", "--journal", journal, "--json"]
    running = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, text=True)
    lines_before = _wait_for_lines(journal, 20)
    serving.end(signal.SIGKILL)
    _wait_for_lines(journal, lines_before + 20)
    again = Serving(bundle, serving.port)
    _wait_for_lines(journal, journal.read_bytes().count(b"\n") + 20)
    for _ in range(600):  # "it comes back by itself", however long this machine takes
        if (ran := _ran(journal))[-1] == "server":
            break
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    out, _ = running.communicate(timeout=60)
    assert again.end(signal.SIGINT) == 0
    summary = json.loads(out)
    assert (summary["lost"], summary["wrong"]) == (0, 0)
    assert summary["answered"] == summary["requests"] >= 60
    assert summary["fallbacks"] >= 1
    assert ran[0] == "server"
    assert "device" in ran
    assert ran[-1] == "server", "it comes back by itself"


def test_ctrl_c_ends_a_run_cleanly_with_its_summary(bundle: Path, tmp_path: Path) -> None:
    serving = Serving(bundle)
    journal = tmp_path / "run.jsonl"
    command = [sys.executable, "-m", "isthmus", "run", str(bundle), "--to", serving.address, "--requests", "100000"]
    running = subprocess.Popen(
        [*command, "--journal", str(journal), "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    _wait_for_lines(journal, 20)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=20)
    assert serving.end(signal.SIGTERM) == 0
    summary = json.loads(out)
    assert summary["lost"] == 0
    assert summary["answered"] > 0
    assert "Traceback" not in err


def test_a_port_in_use_is_named(bundle: Path, call: Call) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        code, _, err = call("serve", bundle, "--port", port)
    assert code == 2
    assert str(port) in err


def test_no_besides_reaches_whoever_decides(bundle: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    choosers: list[TableChooser] = []

    def caught(engine: object, address: str, *, chooser: TableChooser, **_: object) -> None:
        choosers.append(chooser)
        raise Unreachable("that is all")

    monkeypatch.setattr("isthmus.session.connect_engine", caught)
    for words in ((), ("--no-besides",)):
        call("run", bundle, "--to", "127.0.0.1:9", *words)
    assert [chooser.habits.besides for chooser in choosers] == [True, False]


@pytest.mark.parametrize("words", [("serve",), ("run", "--to", "127.0.0.1:9")], ids=["serve", "run"])
def test_processors_that_cannot_be_kept_awake_are_told_of_before_anything_is_prepared(
    words: tuple[str, ...], bundle: Path, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for verb in ("serve", "run"):
        monkeypatch.setattr(f"isthmus.cli.{verb}.processors_awake", partial(processors_awake, tmp_path / "none"))
    monkeypatch.setattr("isthmus.cli.serve.start", lambda *_, **__: pytest.fail("it was started all the same"))
    monkeypatch.setattr("isthmus.cli.run.ready", lambda *_, **__: pytest.fail("it was made ready all the same"))
    code, out, err = call(*words, bundle, "--awake")
    assert code == 2
    assert "kept awake" in err
    assert not out


def _ran(journal: Path) -> list[str]:
    """Where every request in a journal ran that is still being written: the last line may not be whole yet."""
    lines = journal.read_text().split("\n")[1:-1]
    return [s["ran"] for s in map(json.loads, lines) if s["kind"] == "request"]


def _wait_for_lines(path: Path, lines: int) -> int:
    for _ in range(600):
        if path.exists() and (count := path.read_bytes().count(b"\n")) >= lines:
            return count
        time.sleep(0.05)
    raise AssertionError(f"{path} did not reach {lines} lines")


def test_a_model_of_one_number_is_packed(call: Call, tmp_path: Path) -> None:
    ends = [helper.make_tensor_value_info(name, 1, []) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", ends[:1], ends[1:])
    opset = [helper.make_opsetid("", 21)]
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=opset), tmp_path / "one.onnx")
    code, _, _ = call("pack", tmp_path / "one.onnx", "--out", tmp_path / "bundle", "--runs", 1)
    assert code == 0


def test_too_little_memory_is_no_bug(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("isthmus.cli.inspect.load_model", full)
    code, _, said = call("inspect", "zoo:tiny")
    assert code == 2
    assert "has not the memory" in said


def test_a_run_that_is_cut_short_says_so_and_by_its_code(
    call: Call, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Soon(threading.Event):
        looks = 0

        def wait(self, timeout: float | None = None) -> bool:
            self.looks += 1
            return self.looks > 3

    monkeypatch.setattr("isthmus.cli.sending.interruptible", lambda: nullcontext(Soon()))
    code, out, err = call("run", bundle, "--mode", "only_on_device", "--requests", 9, "--json")
    assert (code, json.loads(out)["answered"]) == (130, 3)
    assert "interrupted" in err


def test_a_profile_that_is_cut_short_is_kept_and_gone_on_with(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, words = [], ("profile", "zoo:tiny", "--runs", 1, "--out", tmp_path / "tiny.json")

    def stop(path: Path, found: Profile) -> None:
        write_json(path, found)
        kept.append(found)
        raise KeyboardInterrupt

    monkeypatch.setattr("isthmus.cli.profile.write_json", stop)
    code, _, err = call(*words)
    assert code == 130
    assert not kept[0].complete
    assert f"{tmp_path / 'tiny.json'} keeps what was measured so far; go on with --resume" in "".join(err.splitlines())
    monkeypatch.undo()
    assert call(*words, "--resume")[0] == 0

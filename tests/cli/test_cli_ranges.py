"""Numbers that no one can mean are refused when they are read, with the range that is allowed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Call

from isthmus import units
from isthmus.engine import Engine, SlowDown
from isthmus.errors import BadInput
from isthmus.model import load_model
from isthmus.profile.measure import Measuring
from isthmus.record import Batching

KNOWN = ["plan", "zoo:tiny", "--device", "eyeriss", "--server", "tpu"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ranges") / "bundle"
    command = [sys.executable, "-m", "isthmus", "pack", "zoo:tiny", "--out", str(path), "--runs", "1"]
    subprocess.run(command, capture_output=True, check=True)
    return path


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["run", "{b}", "--slowdown", "nan"], "a slow-down is a number from 1 to 1000000, not nan"),
        (["run", "{b}", "--slowdown", "-1"], "a slow-down is a number from 1 to 1000000, not -1"),
        (["run", "{b}", "--slowdown", "1e300"], "a slow-down is a number from 1 to 1000000, not 1e+300"),
        (["run", "{b}", "--every", "1e10"], "0 to a year"),
        (["run", "{b}", "--rate", "1e-320"], "at least one a year"),
        (["run", "{b}", "--rate", "1e-300/s"], "at least one a year"),
        (["run", "{b}", "--max-batch", "4", "--every", "1e300"], "0 to a year"),
        (["serve", "{b}", "--slowdown", "1e300"], "a slow-down is a number from 1 to 1000000"),
        (["simulate", "{b}", "--trace", "20Mbit:1s", "--requests", "3", "--every", "1e300"], "0 to a year"),
        (["simulate", "{b}", "--trace", "20Mbit:1s", "--requests", "3", "--every", "1e6"], "takes 0 to 3600 s"),
        (["simulate", "{b}", "--trace", "20Mbit:1s", "--scale", "1e308"], "rates must lie in"),
        ([*KNOWN, "--up", "1e-320"], "1 bit/s to 10000 Gbit/s"),
        ([*KNOWN, "--rtt", "1e308"], "0 to a year"),
        ([*KNOWN, "--up", "1e-300"], "1 bit/s to 10000 Gbit/s"),
        ([*KNOWN, "--slowdown", "1e308"], "a slow-down is a number from 1e-06 to 1000000"),
        ([*KNOWN, "--load", "1e308"], "a server's load is a number from 1e-06 to 1000000"),
        ([*KNOWN, "--planner", "dynamic", "--batches", "9" * 20], "a batch holds 1 to 65536 samples, not 9999"),
        (["simulate", "{b}", "--trace", "20Mbit:1s", "--batch", "1," + "9" * 20], "a batch holds 1 to 65536 samples"),
        (["profile", "zoo:tiny", "--batches", "100000000000"], "a batch holds 1 to 65536 samples"),
        (["simulate", "{b}", "--trace", "20Mbit:1s", "--max-batch", "9" * 20, "--every", "1ms"], "'--max-batch'"),
        (["run", "{b}", "--max-batch", "1" + "0" * 23], "'--max-batch'"),
        (["run", "{b}", "--threads", "2147483648"], "'--threads'"),
        (["serve", "{b}", "--threads", "2147483648"], "'--threads'"),
        (["plan", "zoo:tiny", "--threads", "2147483648"], "'--threads'"),
        (["pack", "zoo:tiny", "--threads", "2147483648"], "'--threads'"),
        (["profile", "zoo:tiny", "--threads", "2147483648"], "'--threads'"),
        (["quantize", "zoo:digits", "--threads", "2147483648"], "'--threads'"),
        (["profile", "zoo:digits", "--accuracy", "--first-class", "9" * 20], "'--first-class'"),
    ],
)
def test_what_is_out_of_range_is_one_sentence(call: Call, bundle: Path, words: list[str], says: str) -> None:
    code, _, err = call(*(word.format(b=bundle) for word in words))
    assert says in err
    assert code == 2
    assert "a bug of isthmus" not in err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--cut", "relu_0", "--codec", "nope"], "there is no codec 'nope'"),
        (["--codec", "int8"], "--codec int8 is the codec for --cut: give both, or neither"),
        (["--cut", "nope"], "no tensor 'nope' to cut at"),
        (["--to", "127.0.0.1:70000"], "'127.0.0.1:70000' is no address"),
        (["--planner", "os:getcwd"], "must be a function that makes a chooser"),
    ],
)
def test_what_a_run_cannot_do_is_said_before_it_begins(
    call: Call, bundle: Path, tmp_path: Path, words: list[str], says: str
) -> None:
    journal = tmp_path / "j.jsonl"
    code, _, err = call("run", bundle, "--requests", "2", "--to", "127.0.0.1:1", "--journal", journal, *words)
    assert (code, journal.exists()) == (2, False), err
    assert says in err.replace("\n", " ")


def test_a_run_that_never_reached_its_server_says_so(call: Call, bundle: Path) -> None:
    code, out, err = call("run", bundle, "--requests", "2", "--to", "127.0.0.1:1", "--json")
    assert (code, json.loads(out)["answered"]) == (0, 2)
    assert "the server at 127.0.0.1:1 was never reached: 127.0.0.1:1 cannot be reached" in err.replace("\n", " ")


def test_the_ends_of_the_ranges_are_within() -> None:
    assert (units.rate_bps("1bit"), units.rate_bps("10000Gbit"), units.seconds("8760h")) == (1.0, 1e13, 31_536_000.0)
    assert (units.size_bytes(2.0**60), units.slow_down(1e-6), SlowDown(1e6).factor) == (1 << 60, 1e-6, 1e6)
    for read, wrong in ((units.rate_bps, "0.9bit"), (units.rate_bps, "2e13"), (units.seconds, "8761h")):
        with pytest.raises(BadInput, match="must be"):
            read(wrong)


def test_the_library_refuses_them_as_well() -> None:
    for wrong in (lambda: Measuring(batches=(1, 65_537)), lambda: Batching(65_537), lambda: SlowDown(1e300)):
        with pytest.raises(BadInput, match=r"65536|1000000"):
            wrong()
    with pytest.raises(BadInput, match="give 1 to 1024"):
        Engine.open(load_model("zoo:tiny"), threads=1 << 31)

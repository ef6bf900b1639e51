"""`isthmus plan --planner autosplit` as a person asks for it: tables in, solutions out, sentences for failures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Call

from isthmus.cli.bits import share
from isthmus.errors import BadInput
from isthmus.plan import Plan

PAIR = ("--device", "eyeriss", "--server", "tpu")


@pytest.fixture
def tables(call: Call, tmp_path: Path) -> Path:
    """Distortions of the smallest network, measured on two random inputs."""
    path = tmp_path / "tables.json"
    code, _, err = call("quantize", "zoo:tiny", "--random", "--samples", 2, "--out", path, "--json")
    assert code == 0, err
    return path


def plan(call: Call, tables: Path, *more: object) -> tuple[int, str, str]:
    found: tuple[int, str, str] = call(
        "plan", "zoo:tiny", "--planner", "autosplit", *PAIR, "--distortions", tables, *more
    )
    return found


def test_the_list_of_solutions_and_the_pick(call: Call, tables: Path) -> None:
    more = ("--uplink", "3Mbit", "--memory", "64KiB", "--max-loss", "1%", "--compare")
    code, out, err = plan(call, tables, *more, "--json")
    assert code == 0, err
    found = Plan.model_validate_json(out)
    own = [s for s in found.solutions if s.planner == "autosplit"]
    assert own
    assert {"@input", "@output"} <= {s.cut for s in own}
    assert {"cloud16", "u2", "u8", "qdmp", "qdmp_e", "neurosurgeon", "dads"} <= {s.name for s in found.solutions}
    assert all(s.memory_bytes <= 64 * 1024 for s in own)
    assert found.cost.total_s == min(s.total_s for s in own if s.loss is not None and s.loss <= 0.01)
    assert all(s.bits is not None for s in own if s.front and s.cut != "@input")
    code, out, _ = plan(call, tables, *more)
    assert code == 0
    for word in ("by autosplit", "estimated from the distortion", "►", "u8: all on the", "more solutions"):
        assert word in " ".join(out.split()), word


def test_measured_losses_from_a_file(call: Call, tables: Path, tmp_path: Path) -> None:
    code, out, err = plan(call, tables, "--json", "--up", "1Mbit")
    assert code == 0, err
    losses = tmp_path / "losses.json"
    names = {s["name"]: 0.2 for s in json.loads(out)["solutions"] if s["cut"] == "@output"}
    losses.write_text(json.dumps(names), encoding="utf-8")
    code, out, err = plan(call, tables, "--json", "--up", "1Mbit", "--losses", losses)
    assert code == 0, err
    found = Plan.model_validate_json(out)
    assert found.cuts != ("@output",)
    assert any(s.measured for s in found.solutions)
    losses.write_text('{"a": 7}', encoding="utf-8")
    code, _, err = plan(call, tables, "--losses", losses)
    assert code == 2
    assert "less than or equal to 1" in err


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (("--memory", "10B", "--private"), 5, "the smallest head, up to"),
        (("--memory", "10kB", "--memory-of", "runtime", "--private"), 5, "do not fit 10 kB even at 2 bits"),
        (("--memory-of", "process"), 2, "--memory-of is accelerator or runtime, not 'process'"),
        (("--max-distortion", "0", "--private", "--memory", "1000B"), 5, "no solution within a distortion of 0"),
        (("--max-loss", "0", "--private", "--memory", "1000B"), 5, "no solution within a loss of 0.00%"),
        (("--max-loss", "lots"), 2, "'lots' is no share of accuracy such as 1% or 0.01"),
        (("--narrow", "0"), 2, "--narrow is a number above zero"),
        (("--retime", "2"), 2, "--retime runs cuts in floating point"),
        (("--server-first",), 2, "for a device at home that runs first and a server"),
    ],
)
def test_what_cannot_be_is_one_sentence(call: Call, tables: Path, more: tuple[str, ...], code: int, said: str) -> None:
    found, out, err = plan(call, tables, *more)
    assert found == code, (out, err)
    assert said in " ".join(err.split())


def test_too_little_memory_for_any_head_leaves_all_to_the_server(call: Call, tables: Path) -> None:
    code, out, err = plan(call, tables, "--memory", "10B")
    assert code == 0, err
    said = " ".join(out.split())
    assert "all on the server" in said
    assert "no head fits: the smallest, up to" in said
    assert out.count("►") == 2  # once among the cuts, once among the solutions: the same upload in one form


def test_no_loss_at_all_leaves_floats(call: Call, tables: Path) -> None:
    code, out, err = plan(call, tables, "--max-loss", "0", "--json")
    assert code == 0, err
    found = Plan.model_validate_json(out)
    pick = next(s for s in found.solutions if s.cut == found.cuts[0] and s.bits == found.bits)
    assert (pick.loss, pick.distortion) == (0, 0)


def test_tables_that_are_missing_or_of_another_model(call: Call, tables: Path) -> None:
    code, _, err = call("plan", "zoo:tiny", "--planner", "autosplit", *PAIR)
    assert code == 2
    assert "isthmus quantize tiny --data" in " ".join(err.split())
    code, _, err = call("plan", "zoo:digits", "--planner", "autosplit", *PAIR, "--distortions", tables)
    assert code == 2
    assert "measured on another model than digits" in " ".join(err.split())


def test_dads_by_the_rate_of_inputs(call: Call) -> None:
    words = ("plan", "zoo:tiny", "--planner", "dads", *PAIR, "--json")
    one = Plan.model_validate_json(call(*words)[1])
    many = Plan.model_validate_json(call(*words, "--arrivals", "1000000")[1])
    assert one.planner == many.planner == "dads"
    assert "heavy load: 1e+06 inputs a second" in many.why
    assert "heavy load" not in one.why


def test_shares() -> None:
    assert (share("1%"), share(" 0.5 "), share("100%")) == (0.01, 0.5, 1.0)
    for text in ("", "1.5", "-1%", "nan", "101%"):
        with pytest.raises(BadInput, match="no share of accuracy"):
            share(text)

"""`isthmus simulate` as a person types it: numbers that fit together, journals that a report draws, clear refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Call

from isthmus.files import write_json
from isthmus.graph import graph_of, narrow_cuts
from isthmus.model import load_model
from isthmus.profile import BatchProfile, Machine, Profile, Timing
from isthmus.record import read_journal, summarise

MODEL = "zoo:mobilenet_v2"
TRACE = "1Mbit:20s,60Mbit:20s,8Mbit:20s"
NAMES = ["dynamic", "static", "device", "server", "clairvoyant"]


@pytest.fixture(scope="module")
def profiles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A device of 300 ms and a server of 10 ms, their parts in proportion to the work."""
    model = load_model(MODEL)
    graph = graph_of(model)
    cuts = [c for c in narrow_cuts(graph) if c.head][1::3]
    folder = tmp_path_factory.mktemp("profiles")
    found = []
    for name, whole_s in (("phone", 0.3), ("box", 0.01)):
        heads = {c.id: whole_s * sum(graph.nodes[i].macs for i in c.head) / graph.macs for c in cuts}
        batch = BatchProfile(
            whole=timing(whole_s),
            heads={k: timing(v) for k, v in heads.items()},
            tails={k: timing(whole_s - v) for k, v in heads.items()},
            nodes={n.name: whole_s * n.macs / graph.macs for n in graph.nodes},
        )
        machine = Machine(name=name, cpu="c", system="s", runtime="r", threads=1)
        profile = Profile(
            model=model.name, fingerprint=model.fingerprint, machine=machine, taken="2026-01-01", batches={1: batch}
        )
        found.append(folder / f"{name}.json")
        write_json(found[-1], profile)
    return found[0], found[1]


def timing(seconds: float) -> Timing:
    return Timing(low_s=seconds, median_s=seconds, high_s=seconds, runs=3)


@pytest.fixture
def simulate(call: Call, profiles: tuple[Path, Path]) -> Call:
    """`isthmus simulate` on these profiles."""
    given = ("--device-profile", profiles[0], "--server-profile", profiles[1])

    def run(*words: object) -> tuple[int, str, str]:
        return call("simulate", MODEL, *given, *words)

    return run


def rows_of(stdout: str) -> dict[str, Any]:
    found = json.loads(stdout)
    assert found["kind"] == "isthmus-simulation"
    return {row["policy"]: row for row in found["policies"]}


def test_the_numbers_fit_together(simulate: Call) -> None:
    code, out, _ = simulate("--trace", TRACE, "--json", "--policies", ",".join(NAMES))
    assert code == 0
    rows = rows_of(out)
    assert list(rows) == NAMES
    assert json.loads(out)["reference"] == "dynamic"
    assert rows["clairvoyant"]["mean_s"] <= rows["dynamic"]["mean_s"] <= rows["static"]["mean_s"]
    assert rows["static"]["mean_s"] <= min(rows["device"]["mean_s"], rows["server"]["mean_s"])
    for row in rows.values():
        assert row["p50_s"] <= row["p99_s"]
        assert sum(row["shares"]["ran"].values()) == pytest.approx(1)
        assert sum(row["shares"]["choices"].values()) == pytest.approx(1)
        assert row["lost"] == 0
        assert row["regret"] >= 0
        saved = 1 - rows["dynamic"]["mean_s"] / row["mean_s"]
        assert row["gain"]["ratio_of_sums"] == pytest.approx(saved)
    assert rows["device"]["plays"] == "@output/float32"
    assert rows["device"]["mean_s"] == pytest.approx(0.3)
    assert rows["dynamic"]["switches"] >= 2
    assert len(rows["dynamic"]["shares"]["choices"]) >= 3
    assert rows["dynamic"]["gain"] == {"mean_of_savings": 0.0, "ratio_of_sums": 0.0}


def test_a_journal_a_policy_and_a_report_of_it(simulate: Call, call: Call, tmp_path: Path) -> None:
    folder = tmp_path / "journals"
    words = ("--trace", TRACE, "--policies", "dynamic,cut:conv_37/int8", "--journal", folder, "--requests", 40)
    code, out, _ = simulate(*words, "--json")
    assert code == 0
    assert sorted(p.name for p in folder.iterdir()) == ["cut_conv_37_int8.jsonl", "dynamic.jsonl"]
    header, steps = read_journal(folder / "dynamic.jsonl")
    summary = summarise(steps, link_trace=header.link_trace)
    assert summary.requests == 40
    assert summary.mean_s == pytest.approx(rows_of(out)["dynamic"]["mean_s"])
    assert header.link_trace == ((0.0, 1e6), (20.0, 60e6), (40.0, 8e6))
    assert header.cut_order[0] == "@input"
    code, out, _ = call("report", *sorted(folder.iterdir()), "--out", tmp_path / "page.html", "--json")
    assert code == 0
    both = json.loads(out)
    assert [Path(one["journal"]).stem for one in both] == ["cut_conv_37_int8", "dynamic"]
    assert both[1]["mean_s"] == summary.mean_s
    page = (tmp_path / "page.html").read_text()
    assert "simulated: dynamic" in page
    assert page.count("The run over time") == 2
    code, _, err = simulate(*words)
    assert code == 2
    assert "dynamic.jsonl is there already" in " ".join(err.split())


def test_the_same_seed_is_the_same_run(simulate: Call) -> None:
    words = (
        "--trace",
        TRACE,
        "--policies",
        "dynamic",
        "--noise",
        "0.2",
        "--others",
        "4:30ms",
        "--json",
        "--every",
        "1s",
    )
    runs = [rows_of(simulate(*words, "--seed", seed)[1])["dynamic"] for seed in (1, 1, 2)]
    assert runs[0] == runs[1]
    assert runs[0]["mean_s"] != runs[2]["mean_s"]
    assert runs[0]["requests"] == 60


def test_the_table_says_who_won_and_where_it_ran(simulate: Call) -> None:
    code, out, _ = simulate("--trace", TRACE, "--part", "20s:", "--scale", "0.5", "--clip", ":20Mbit", "--loop")
    assert code == 0
    text = " ".join(out.split())
    assert "mobilenet_v2 over 40 s of 4 Mbit/s to 20 Mbit/s" in text
    assert all(name in text for name in NAMES)
    assert "by dynamic, against each" in text


def test_every_cut_by_name(simulate: Call) -> None:
    code, out, _ = simulate("--trace", "8Mbit:5s", "--policies", "table,cuts", "--json")
    assert code == 0
    rows = rows_of(out)
    assert json.loads(out)["reference"] == "table"
    cuts = [name for name in rows if name.startswith("cut:")]
    assert len(cuts) > 8
    assert min(rows[c]["mean_s"] for c in cuts) >= rows["table"]["mean_s"] * (1 - 1e-9)


def test_private_never_sends_the_input(simulate: Call) -> None:
    code, out, _ = simulate("--trace", "200Mbit:5s", "--policies", "static,dynamic", "--private", "--json")
    assert code == 0
    assert not any(choice.startswith("@input") for row in rows_of(out).values() for choice in row["shares"]["choices"])
    code, _, err = simulate("--trace", "200Mbit:5s", "--policies", "server", "--private")
    assert code == 2
    assert "'server' names a choice that has no price here" in " ".join(err.split())


def test_batches_in_turn_and_gathered(simulate: Call, tmp_path: Path) -> None:
    words = ("--trace", "20Mbit:20s", "--policies", "dynamic", "--journal")
    assert simulate(*words, tmp_path / "a", "--batches", "1,4", "--requests", 6)[0] == 0
    steps = read_journal(tmp_path / "a" / "dynamic.jsonl")[1]
    assert [s.batch for s in steps if s.kind == "request"] == [1, 4, 1, 4, 1, 4]
    assert simulate(*words, tmp_path / "b", "--max-batch", 3, "--max-delay", "1s", "--every", "50ms")[0] == 0
    steps = read_journal(tmp_path / "b" / "dynamic.jsonl")[1]
    assert {s.batch for s in steps if s.kind == "request"} == {3, 1} or all(s.batch <= 3 for s in steps)


def test_an_outage_with_a_deadline_falls_back_and_without_one_waits(simulate: Call) -> None:
    trace = ("--trace", "20Mbit:5s,0:5s,20Mbit:5s", "--policies", "server/int8", "--json")
    late = rows_of(simulate(*trace, "--deadline", "500ms")[1])["server/int8"]
    assert late["fallbacks"] > 3
    assert late["lost"] == 0
    waits = rows_of(simulate(*trace, "--deadline", "never")[1])["server/int8"]
    assert waits["fallbacks"] == 0
    few = rows_of(simulate(*trace, "--every", "4s", "--deadline", "never")[1])["server/int8"]
    assert few["p99_s"] > 1.9


def test_a_bundle_brings_its_own_tables(call: Call, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    assert call("pack", "zoo:tiny", "--out", bundle, "--runs", "1", "--json")[0] == 0
    code, out, _ = call("simulate", bundle, "--trace", "1Mbit:2s", "--requests", 5, "--json")
    assert code == 0
    assert json.loads(out)["model"] == "tiny"
    code, _, err = call("simulate", bundle, "--trace", "1Mbit:2s", "--device-profile", "x.json")
    assert code == 2
    assert "holds both profiles" in " ".join(err.split())


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", r"holds no trace: it is empty"),
        ("0 5\n1 -3\n2 4\n", r"line 2: '-3' is negative"),
        ("0 5\n1 nan\n", r"line 2: 'nan' is not a finite number"),
        ("0 5\n2 6\n1 5\n", r"time runs backwards at sample 3"),
        ("0 5\n1 5\n2 5\n3 5\n4 5\n900 5\n", r"the trace has no samples for 896 s of its 901 s: take a part of it"),
        ("hello\n", r"looks like none of the trace formats"),
    ],
)
def test_bad_traces_are_one_sentence(simulate: Call, tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "trace.txt"
    path.write_text(text)
    code, out, err = simulate("--trace", path)
    assert code == 2
    assert sentence in " ".join(err.split())
    assert not out
    assert "Traceback" not in err


def test_a_link_that_is_never_there(simulate: Call, tmp_path: Path) -> None:
    path = tmp_path / "trace.txt"
    path.write_text("0 0\n1 0\n2 0\n3 0\n")
    code, out, err = simulate("--trace", path, "--json", "--policies", "dynamic,server,device")
    assert code == 0
    assert "trace: no link for 100 % of the time" in " ".join(err.split())
    rows = rows_of(out)
    assert all(row["shares"]["ran"]["device"] == 1 for row in rows.values())
    code, out, err = simulate("--trace", path, "--deadline", "never")
    assert code == 2
    assert "the trace's rate is 0 all along: what is sent never arrives; give a deadline" in " ".join(err.split())
    assert not out


def test_a_gap_is_told(simulate: Call, tmp_path: Path) -> None:
    path = tmp_path / "trace.txt"
    path.write_text("".join(f"{t} 20\n" for t in [*range(30), *range(50, 70)]))
    code, out, err = simulate("--trace", path, "--policies", "device", "--json")
    assert code == 0
    assert "trace: 1 gap of 21 s in all, from 29 s on: the last value holds" in " ".join(err.split())
    assert json.loads(out)["trace"]["notes"] == ["1 gap of 21 s in all, from 29 s on: the last value holds"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--trace", "nowhere.txt"), "cannot read the trace nowhere.txt"),
        (("--trace", "20Mbit:5s", "--policies", "best"), "'best' is no policy; there are dynamic, table, static"),
        (("--trace", "20Mbit:5s", "--policies", "device,device"), "the policy device is named twice"),
        (("--trace", "20Mbit:5s", "--policies", ","), "name at least one policy"),
        (("--trace", "20Mbit:5s", "--policies", "cut:nowhere"), "'cut:nowhere' names a choice that has no price here"),
        (("--trace", "20Mbit:5s", "--clip", "5Mbit"), "--clip takes LOW:HIGH"),
        (("--trace", "20Mbit:5s", "--part", "3s:9s"), "a trace of 5 s has no part 3…9 s"),
        (("--trace", "20Mbit:5s", "--scale", "0"), "factor must be finite and above zero"),
        (("--trace", "20Mbit:5s", "--down-ratio", "-1"), "factor must be finite and above zero"),
        (("--trace", "20Mbit:5s", "--deadline", "0"), "a deadline must be finite and above zero"),
        (("--trace", "20Mbit:5s", "--batch", "0"), "a batch holds 1 to 65536 samples, not 0"),
        (("--trace", "20Mbit:5s", "--requests", "0"), "a simulation runs 1 to 10000000 requests, not 0"),
        (("--trace", "20Mbit:5s", "--others", "x:1s"), "'x' in --others is no number"),
        (("--trace", "20Mbit:5s", "--others", "5:1s"), "never end"),
        (("--trace", "20Mbit:5s", "--away", "3s"), "--away takes FROM:TO"),
        (("--trace", "20Mbit:5s", "--noise", "-1"), "noise needs a standard deviation"),
        (("--trace", "20Mbit:5s", "--max-batch", "4"), "samples that come by themselves"),
        (("--trace", "20Mbit:5s", "--max-batch", "4", "--batch", "2"), "leave --batch out"),
        (("--trace", "20Mbit:5s", "--device", "eyeriss"), "give --device or --device-profile, not both"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(simulate: Call, words: tuple[object, ...], sentence: str) -> None:
    code, out, err = simulate(*words)
    assert code == 2
    assert sentence in " ".join(err.split())
    assert not out
    assert "Traceback" not in err


def test_profiles_are_asked_for_not_measured(call: Call) -> None:
    code, _, err = call("simulate", MODEL, "--trace", "20Mbit:5s")
    assert code == 2
    assert "a simulation measures nothing: give the device's profile (--device-profile FILE" in " ".join(err.split())


def test_a_load_file(simulate: Call, tmp_path: Path) -> None:
    path = tmp_path / "load.txt"
    path.write_text("0 1\n5 100\n")
    words = ("--trace", "200Mbit:10s", "--policies", "server,dynamic", "--json")
    busy, quiet = (rows_of(simulate(*words, *more)[1]) for more in (("--load", path), ()))
    assert busy["server"]["mean_s"] > 1.5 * quiet["server"]["mean_s"]
    assert busy["dynamic"]["mean_s"] < busy["server"]["mean_s"]
    path.write_text("0 1\n5 0\n")
    code, _, err = simulate(*words, "--load", path)
    assert code == 2
    sentence = "load.txt holds no load: a load factor is a number from 1e-06 to 1e+06 (1 is as profiled), not 0"
    assert sentence in " ".join(err.split())


def test_long_steps_of_a_trace_written_by_hand_are_no_gaps(simulate: Call) -> None:
    words = ("--trace", "20Mbit:1s,1Mbit:100s,20Mbit:1s,5Mbit:1s,20Mbit:1s", "--every", "1s", "--policies", "server")
    code, out, err = simulate(*words, "--json")
    assert code == 0, err
    assert json.loads(out)["trace"]["notes"] == []

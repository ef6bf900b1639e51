"""The page: every kind of run draws, it stands alone, stays small, and shows nothing that the journal does not say."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_runs import CUTS, HEADER, changing_run, plan_at, steady_run
from test_report_markup import Reader

from isthmus.errors import BadInput
from isthmus.plan.types import Candidate, CostRow, Plan
from isthmus.record import Evidence, Header, Journal, Seconds, Step, summarise
from isthmus.report import report, write_report

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&"


def journal_of(path: Path, steps: list[Step], header: Header = HEADER) -> Path:
    with Journal(path, header) as journal:
        for step in steps:
            journal.write(step)
    return path


def written(folder: Path, steps: list[Step], **options: Any) -> str:
    return write_report(steps, folder / "page.html", **options).read_text()


def stands_alone(page: str) -> None:
    """Nothing to fetch, nothing to run, one document."""
    seen = Reader(page)
    assert not {"link", "img", "iframe", "object", "embed", "base", "form", "foreignobject"} & set(seen.tags)
    assert seen.tags.count("html") == seen.tags.count("body") == seen.tags.count("style") == 1
    names = {name for name, _ in seen.attributes}
    assert not {"src", "href", "xlink:href", "action", "srcset"} & names
    assert not [name for name in names if name.startswith("on")]
    assert re.findall(r"url\(|@import|https?://|javascript:", page) == []
    assert all(f'<script type="application/json" id="summary-{i}">' in page for i in range(page.count("<script")))


def test_the_verb_reads_a_journal_and_a_plan(tmp_path: Path) -> None:
    run = changing_run()
    plan = tmp_path / "plan.json"
    plan.write_text(plan_at(6e6).model_dump_json())
    out = report(journal_of(tmp_path / "run.jsonl", run), tmp_path / "deep" / "report.html", plan)
    page = out.read_text()
    stands_alone(page)
    found = summarise(run)
    seen = Reader(page)
    assert f"{found.answered} requests in 52" in seen.text
    assert "No answer was lost, every answer was verified" in seen.text
    assert all(cut in seen.text for cut in CUTS)
    assert "no answer within 200 ms: connection refused" in seen.text
    assert "neurosurgeon: the cheapest of 5 cuts" in seen.text
    assert seen.tags.count("svg") == 4
    assert len(page) < 1_000_000
    assert not list(out.parent.glob("*.part"))


def test_lost_requests_of_a_journal_are_lost_on_its_page(tmp_path: Path) -> None:
    run = steady_run(12)
    gone = [s.model_copy(update={"kind": "lost", "trouble": "the server has gone"}) for s in run[4:]]
    page = report(journal_of(tmp_path / "run.jsonl", [*run[:4], *gone]), tmp_path / "report.html").read_text()
    assert "12 requests in" in Reader(page).text
    assert "8 answers were lost" in Reader(page).text
    assert "the server has gone" in Reader(page).text
    page = report(journal_of(tmp_path / "none.jsonl", gone), tmp_path / "report.html").read_text()
    assert "8 answers were lost, none was verified" in Reader(page).text


def test_the_same_journal_gives_the_same_page(tmp_path: Path) -> None:
    path = journal_of(tmp_path / "run.jsonl", changing_run(20))
    assert report(path, tmp_path / "a.html").read_bytes() == report(path, tmp_path / "b.html").read_bytes()


def test_the_embedded_summary_is_the_summary(tmp_path: Path) -> None:
    run = [*changing_run(20), steady_run(1, id=10**6, cut=EVIL, trouble=EVIL)[0]]
    page = written(tmp_path, run)
    match = re.search(r'<script type="application/json" id="summary-0">(.*?)</script>', page, re.DOTALL)
    assert match is not None
    assert json.loads(match[1]) == json.loads(summarise(run).model_dump_json())


def test_names_are_data_wherever_they_appear(tmp_path: Path) -> None:
    header = Header(model=EVIL, device=EVIL, server=EVIL, link=EVIL, started=EVIL, cut_order=(EVIL,))
    run = steady_run(5, cut=EVIL, codec=EVIL, trouble=EVIL, asked=EVIL + "2", predicted_s=0.1)
    cost = CostRow(compute_s=(0.1, 0.1), up_s=(0.1,), down_s=(0.1,), codec_s=0, fixed_s=0, up_bytes=(1,),
                   down_bytes=(1,), total_s=0.4)  # fmt: skip
    plan = Plan(model=EVIL, planner=EVIL, batch=1, cuts=(EVIL,), codec=EVIL, cost=cost, why=EVIL)
    paths = [journal_of(tmp_path / f"{name}.jsonl", run, header) for name in ("<b>", "&amp;")]
    page = write_report(paths, tmp_path / "page.html", plan=plan, title=EVIL).read_text()
    stands_alone(page)
    assert page.count("<script") == 2
    assert EVIL in Reader(page).text


@settings(max_examples=30)
@given(name=st.text(max_size=30), trouble=st.text(max_size=30))
def test_no_name_breaks_the_page(tmp_path_factory: pytest.TempPathFactory, name: str, trouble: str) -> None:
    text = [t.encode(errors="replace").decode() for t in (name, trouble)]
    stands_alone(written(tmp_path_factory.mktemp("p"), steady_run(2, cut=text[0], codec=text[0], trouble=text[1])))


def test_an_empty_journal_says_so(tmp_path: Path) -> None:
    page = report(journal_of(tmp_path / "run.jsonl", [], Header()), tmp_path / "page.html").read_text()
    stands_alone(page)
    for words in ("holds no request", "No request was answered", "No rate was recorded", "No prediction was recorded"):
        assert words in page
    assert "nan" not in page.lower().replace("inference", "")
    stands_alone(write_report([], tmp_path / "none.html").read_text())
    assert "3 answers were lost" in written(tmp_path, [], requests=3)


PLAIN = {"ran": "device", "cut": "@output", "codec": ""}
CASES: dict[str, list[Step]] = {
    "one": steady_run(1),
    "one_without_duration": steady_run(1, seconds=Seconds(total=0)),
    "all_at_once": steady_run(30, t_s=0.0),
    "probes": steady_run(20, kind="probe", evidence=Evidence(up_bps=1e6), **PLAIN),
    "device": steady_run(20, **PLAIN, seconds=Seconds(total=0.1, local=0.1)),
    "estimates_missing_at_times": [
        s.model_copy(update={"estimate_bps": None if s.id % 2 else 1e6, "predicted_s": None if s.id % 3 else 0.06})
        for s in steady_run(20)
    ],
    "zero_and_infinite_rates": steady_run(5, estimate_bps=0.0, true_bps=float("inf"), predicted_s=float("inf")),
    "negative": steady_run(5, seconds=Seconds(total=0.0, head=-1.0), t_s=-5.0),
    "causes_beyond_the_total": steady_run(5, seconds=Seconds(total=0.1, head=0.2, up=0.3)),
    "extreme_numbers": steady_run(
        3, t_s=1e9, seconds=Seconds(total=1e9, up=1e9), predicted_s=1e306, estimate_bps=1e300
    ),
    "outlier": [*steady_run(99), steady_run(1, id=99, t_s=9.9, seconds=Seconds(total=60.0, lost=60.0))[0]],
    "many_cuts": [s.model_copy(update={"cut": f"/block.{s.id % 80}/Add_output_0"}) for s in steady_run(400)],
}


@pytest.mark.parametrize("case", CASES)
def test_odd_runs_draw(tmp_path: Path, case: str) -> None:
    page = written(tmp_path, CASES[case], plan=plan_at(1e6))
    stands_alone(page)
    assert page.count("<svg") == 4
    assert not re.search(r'[ "][-+]?(nan|inf)[ "hHvV]', page)
    assert not re.search(r"\d{25}", page), "nobody reads that many digits"


def test_outliers_are_clipped_marked_and_said(tmp_path: Path) -> None:
    page = written(tmp_path, CASES["outlier"])
    assert "1 request reaches beyond the latency axis (▲), the longest 60 s" in page
    assert page.count('class="beyond"') == 1
    assert 'class="beyond"' not in written(tmp_path, CASES["device"])


def test_rows_that_are_left_out_are_said(tmp_path: Path) -> None:
    assert "80 cuts were used; the 24 used most are drawn" in written(tmp_path, CASES["many_cuts"])


def test_fallbacks_are_marked(tmp_path: Path) -> None:
    assert 'class="cross"' not in written(tmp_path, CASES["device"])
    page = written(tmp_path, [*steady_run(9), steady_run(1, id=9, t_s=0.9, asked="b", trouble="server gone")[0]])
    assert page.count('class="band"') == 3
    assert "server gone" in page


def test_a_hundred_thousand_requests_stay_a_small_page(tmp_path: Path) -> None:
    run = changing_run(40)
    many = [s.model_copy(update={"id": i, "t_s": s.t_s + 40 * (i // len(run))}) for i, s in enumerate(run * 250)]
    assert len(many) > 100_000
    page = written(tmp_path, many)
    assert len(page) < 1_500_000
    assert re.search(r"\d+ requests drawn as \d+ bars", page)


def test_a_truncated_journal_is_drawn_and_said(tmp_path: Path) -> None:
    path = journal_of(tmp_path / "run.jsonl", steady_run(5))
    path.write_bytes(path.read_bytes()[:-9])
    assert "line 6, the last, was cut short and is left out" in report(path, tmp_path / "page.html").read_text()


def test_several_journals_are_compared(tmp_path: Path) -> None:
    paths = [journal_of(tmp_path / f"{name}.jsonl", steady_run(n)) for name, n in (("split", 5), ("device", 7))]
    page = write_report(paths, tmp_path / "page.html").read_text()
    stands_alone(page)
    assert "<h2>split.jsonl</h2>" in page
    assert "<h2>device.jsonl</h2>" in page
    assert page.count("<svg") == 6


def test_the_order_of_cuts_is_the_networks(tmp_path: Path) -> None:
    run = [s.model_copy(update={"cut": "cba"[s.id % 3]}) for s in steady_run(9)]
    run.append(steady_run(1, id=9, cut="@output", ran="device")[0])

    def labels(**options: Any) -> list[str]:
        return re.findall(
            r'text-anchor="end" class="tick">([abc]|@output)[^<]*<title>', written(tmp_path, run, **options)
        )

    assert labels(cut_order=("a", "b", "c")) == ["a", "b", "c", "@output"]
    assert labels(cut_order=("b", "a", "c")) == ["b", "a", "c", "@output"]


def test_a_plan_of_many_cuts_keeps_the_chosen_and_the_cheapest(tmp_path: Path) -> None:
    def cost(total_s: float) -> CostRow:
        return CostRow(compute_s=(total_s, 0, 0), up_s=(0, 0), down_s=(0, 0), codec_s=0, fixed_s=0,
                       up_bytes=(0, 0), down_bytes=(0, 0), total_s=total_s)  # fmt: skip

    candidates = [Candidate(cuts=(f"c{i}", "z"), codec=c, cost=cost(i + 1 + w)) for i in range(150)
                  for c, w in (("int8", 0.0), ("float32", 0.5))]  # fmt: skip
    plan = Plan(model="m", planner="p", batch=1, cuts=("c140", "z"), codec="int8", cost=cost(141.0), why="told so",
                candidates=tuple(candidates))  # fmt: skip
    page = written(tmp_path, [], plan=plan)
    stands_alone(page)
    assert "150 cuts were priced; the 60 cheapest are drawn" in page
    assert page.count("◀ plan") == 1
    assert "c140 / z" in page
    assert "c58 / z" in page
    assert "c60 / z" not in page


def test_bad_files_are_named(tmp_path: Path) -> None:
    path = journal_of(tmp_path / "run.jsonl", steady_run(2))
    with pytest.raises(BadInput, match="is no plan"):
        report(path, tmp_path / "page.html", path)
    with pytest.raises(BadInput, match=r"cannot read .*none\.json"):
        report(path, tmp_path / "page.html", tmp_path / "none.json")
    with pytest.raises(BadInput, match=r"cannot write .*page\.html"):
        report(path, path / "page.html")
    with pytest.raises(BadInput, match="not from both"):
        write_report([path, steady_run(1)[0]], tmp_path / "page.html")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="counts one run"):
        write_report([path, path], tmp_path / "page.html", requests=2)


def test_a_plan_of_another_network_is_not_drawn_beside_a_run(tmp_path: Path) -> None:
    plan = plan_at(6e6).model_copy(update={"fingerprint": "f" * 64})
    for fingerprint, same in (("f" * 64, True), ("", True), ("e" * 64, False)):
        path = journal_of(tmp_path / f"{same}{fingerprint[:1]}.jsonl", steady_run(2), Header(fingerprint=fingerprint))
        if same:
            write_report([path], tmp_path / "page.html", plan=plan)
            continue
        with pytest.raises(BadInput, match=r"Falsee\.jsonl is of another network than the plan"):
            write_report([path], tmp_path / "page.html", plan=plan)


def test_reporting_needs_only_the_core() -> None:
    program = (
        "import sys, isthmus.report, isthmus.record\n"
        "heavy = {'onnxruntime', 'grpc', 'torch', 'matplotlib', 'isthmus.engine', 'isthmus.run'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_which_exit_answered_stands_in_a_table_where_there_is_one(tmp_path: Path) -> None:
    plain = steady_run(4)
    assert "Which exit answered" not in written(tmp_path / "plain", plain)
    left = [s.model_copy(update={"exit": EVIL, "exits": {"exit1": 2, EVIL: 1}, "batch": 3}) for s in plain]
    page = written(tmp_path / "left", left)
    stands_alone(page)
    seen = Reader(page)
    assert "Which exit answered" in seen.text
    assert "66.7%" in seen.text
    assert EVIL in seen.text

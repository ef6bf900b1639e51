"""The whole path on five nodes: model → profile → plan → bundle → serve → run → report, in seconds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import isthmus
from isthmus.adapt import Fixed
from isthmus.bundle import open_bundle
from isthmus.bundle.pack import Contents, pack
from isthmus.engine import Engine
from isthmus.errors import BadInput, Refused
from isthmus.graph import INPUT, OUTPUT, graph_of
from isthmus.link import Link, ShapedLink
from isthmus.model import load_model
from isthmus.plan import PLANNERS, Limits, price, problem_for
from isthmus.profile.calibrate import calibrate
from isthmus.profile.measure import Measuring, measure
from isthmus.profile.samples import Samples
from isthmus.record import Choice, Header, Journal, Step, read_journal, summarise
from isthmus.report import report
from isthmus.run import Server, serve
from isthmus.session import connect, problem_of, ready, sizes_up_to, table_of


class Kept:
    """Keeps steps."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def write(self, step: Step) -> None:
        self.steps.append(step)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = load_model("zoo:tiny")
    engine = Engine.open(model)
    profile = measure(engine, Measuring(runs=2), taken="2026", clock=time.perf_counter)
    link = Link(20e6, 20e6, 0.005)
    plan = PLANNERS["mincut"](problem_for(graph_of(model), profile, profile, link))
    contents = Contents(profile, profile, plan, link, default_codecs=("float32", "float16", "int8"))
    return pack(model, engine, contents, tmp_path_factory.mktemp("tiny") / "bundle", packed="2026").path


@pytest.fixture(scope="module")
def server(bundle: Path) -> Iterator[Server]:
    opened = open_bundle(bundle)
    started = serve(Engine.open(opened.model()), opened.manifest.name, clips=opened.clips)
    yield started
    started.stop()


def test_every_cut_and_codec_over_a_shaped_link_answers_like_the_whole_model(
    bundle: Path, server: Server, tmp_path: Path
) -> None:
    here = ready(bundle)
    path = tmp_path / "journal.jsonl"
    cuts = [c.id for c in here.engine.cuts]
    with ShapedLink(server.address, "50Mbit", delay_s=0.001) as link, Journal(path, Header(model="tiny")) as journal:
        for cut in cuts:
            for codec in ("float32", "int8"):
                chooser = Fixed(Choice(cut=cut, codec=codec))
                with connect(here, link.address, chooser=chooser, journal=journal, verify=True) as session:
                    answer = session.infer(here.engine.model.random_inputs(2))
                assert answer.ran == {INPUT: "server", OUTPUT: "device"}.get(cut, "split")
                assert answer.step.wrong is False
                if codec == "float32":
                    whole = here.engine.whole(here.engine.model.random_inputs(2))
                    for name, value in answer.outputs.items():
                        assert np.allclose(value.astype("f8"), whole[name].astype("f8"), rtol=1e-4, atol=1e-5)
    _, steps = read_journal(path)
    requests = [s for s in steps if s.kind == "request"]
    assert len(requests) == 2 * len(cuts)
    assert {s.cut for s in requests} == set(cuts)
    page = report(path, tmp_path / "report.html")
    assert "<svg" in page.read_text()


def test_bytes_are_priced_as_they_are_sent(tmp_path: Path) -> None:
    """Also where ranges were calibrated, so that none is sent with the tensor."""
    model = load_model("zoo:tiny")
    engine = Engine.open(model)
    profile = measure(engine, Measuring(runs=1), taken="2026", clock=time.perf_counter)
    link, names = Link(20e6, 20e6, 0.005), ("float32", "float16", "int8", "int3")
    plan = PLANNERS["mincut"](problem_for(graph_of(model), profile, profile, link))
    inner = [c for c in engine.cuts if c.id != OUTPUT]
    clips = calibrate(engine, Samples(model.random_inputs(8)), inner[::2])
    contents = Contents(profile, profile, plan, link, clips=clips, clip_samples=8, default_codecs=names)
    opened = pack(model, engine, contents, tmp_path / "bundle", packed="2026")
    here, problem, seen = ready(opened.path), problem_of(opened, batch=2), set()
    with serve(engine, clips=opened.clips) as server:
        for cut in inner:
            for codec in names:
                with connect(here, server.address, chooser=Fixed(Choice(cut=cut.id, codec=codec))) as session:
                    step = session.infer(model.random_inputs(2)).step
                sent = price(problem, [cut], codec).up_bytes[0]
                assert step.up_bytes == sent, (cut.id, codec)
                seen.add(sent)
    assert len(seen) > 2 * len(names)


def test_the_public_verb_connects_and_adapts(bundle: Path, server: Server) -> None:
    kept = Kept()
    with isthmus.connect(bundle, server.address, deadline_s=1.0, journal=kept, verify=True) as session:
        for _ in range(12):
            answer = session.infer(load_model("zoo:tiny").random_inputs(1))
            assert answer.outputs
            assert answer.cost.total > 0
    summary = summarise(kept.steps, requests=12)
    assert (summary.answered, summary.lost, summary.wrong) == (12, 0, 0)


def test_decisions_are_made_for_the_batch_of_each_request(bundle: Path, server: Server) -> None:
    opened = open_bundle(bundle)
    inputs = load_model("zoo:tiny").random_inputs(3)
    with isthmus.connect(bundle, server.address, max_batch=4) as session:
        first = session.infer(inputs).step
    link = opened.manifest.link.link()
    priced = table_of(opened, batch=3).latency_s(link.up_bps, link.down_bps, link.rtt_s)
    assert first.batch == 3
    assert first.predicted_s == pytest.approx(priced.min())
    assert priced.min() != pytest.approx(table_of(opened).latency_s(link.up_bps, link.down_bps, link.rtt_s).min())
    assert sizes_up_to(1) == (1,)
    assert sizes_up_to(16) == tuple(range(1, 17))
    assert sizes_up_to(23) == (*range(1, 17), 18, 20, 22, 23)


@pytest.mark.parametrize("said", [{"batch": 0}, {"batch": 1.5}, {"max_batch": 0}, {"max_batch": -1}, {"batch": 65_537},
                                  {"batch": "2"}, {"batch": True}])  # fmt: skip
def test_batches_that_cannot_be_are_refused(bundle: Path, said: dict[str, Any]) -> None:
    ((name, size),) = said.items()
    with pytest.raises(BadInput, match=f"^{name} is a whole number from 1 to 65536, not {size!r}$"):
        isthmus.connect(bundle, "127.0.0.1:1", **said)
    for deadline_s in (None, "2s", np.array([1.0, 2.0])):
        wrong: Any = deadline_s
        with pytest.raises(BadInput, match=r"a deadline of .* s cannot be kept"):
            isthmus.connect(bundle, "127.0.0.1:1", deadline_s=wrong)
    wrong = "mincut"
    for exit_at in (None, "early"):
        with pytest.raises(BadInput, match="is a str, which is no chooser"):
            isthmus.connect(bundle, "127.0.0.1:1", chooser=wrong, exit_at=exit_at)


def test_private_never_sends_the_input(bundle: Path, server: Server) -> None:
    opened = open_bundle(bundle)
    assert INPUT in table_of(opened).cuts
    assert set(table_of(opened, limits=Limits(private=True)).cuts) == set(table_of(opened).cuts) - {INPUT}
    with isthmus.connect(bundle, server.address, mode="private") as session:
        assert {session.infer(load_model("zoo:tiny").random_inputs(1)).cut for _ in range(5)}.isdisjoint({INPUT})


def test_what_comes_before_a_node_stays_here_on_request(bundle: Path, server: Server) -> None:
    opened = open_bundle(bundle)
    cuts = [c for c in dict.fromkeys(table_of(opened).cuts) if c not in (INPUT, OUTPUT)]
    makes = {t: n.name for n in graph_of(opened.model(weights=False)).nodes for t in n.outputs}
    last = makes[cuts[-1]]
    assert len(cuts) > 1
    assert set(table_of(opened, limits=Limits(private_until=last)).cuts) == {cuts[-1], OUTPUT}
    with isthmus.connect(bundle, server.address, private_until=last) as session:
        went = {session.infer(load_model("zoo:tiny").random_inputs(1)).cut for _ in range(5)}
    assert went <= {cuts[-1], OUTPUT}
    with pytest.raises(BadInput, match=r"the mode prefer_on_server may send"):
        isthmus.connect(bundle, server.address, mode="prefer_on_server", private_until=last)
    with pytest.raises(BadInput, match=r"a chooser of your own may send"):
        isthmus.connect(bundle, server.address, chooser=Fixed(Choice(cut=INPUT)), private_until=last)
    with pytest.raises(BadInput, match=r"has no node 'nowhere'"):
        isthmus.connect(bundle, server.address, private_until="nowhere")


def test_a_server_of_another_model_refuses(bundle: Path) -> None:
    with serve(Engine.open(load_model("zoo:digits"))) as other, pytest.raises(Refused, match="tiny"):
        isthmus.connect(bundle, other.address)

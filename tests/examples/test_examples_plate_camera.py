"""The case study end to end on few pictures: the trained network, the plan, the comparison, the pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from camera_rig import EXAMPLE
from PIL import Image
from plate_camera import narrow_place, study, table, told, written
from plate_compared import with_live
from plate_live import run_live
from plate_pictures import scenes
from plate_pipeline import TEST_SEED, VALIDATION_SEED, Pipeline, Way
from plate_planning import Choosing, Known, Setting, best, known, priced_at, problem_of, uniform, with_wire

from isthmus.graph import INPUT, OUTPUT
from isthmus.plan import PLANNERS

FEW = 5


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Pipeline.open(calibration=8)


@pytest.fixture(scope="module")
def cut(pipeline: Pipeline) -> str:
    return narrow_place(pipeline)


@pytest.fixture(scope="module")
def measured(pipeline: Pipeline, cut: str) -> Known:
    """Once, and without pauses: how long things take does not matter here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("plate_planning.REST_S", 0.0)
        return known(pipeline, Setting(), cut, list(scenes(4, VALIDATION_SEED)), runs=1)


def test_the_committed_network_reads_plates_it_never_saw(pipeline: Pipeline) -> None:
    judged = pipeline.judged(Way(OUTPUT), scenes(30, 42_000)).score
    assert judged.average_precision > 0.97
    assert judged.characters > 0.93
    assert (EXAMPLE / "plates.onnx").stat().st_size <= 500_000


def test_two_bits_at_the_narrow_place_lose_little(pipeline: Pipeline, measured: Known, cut: str) -> None:
    pictures = list(scenes(16, 43_000))
    two = with_wire(problem_of(pipeline, measured, Setting()), cut, 2)
    assert set(two.weights.values()) == {8}
    whole = pipeline.judged(Way(OUTPUT), pictures)
    plain, coded = (pipeline.judged(Way(cut, f"int2{how}", two), pictures) for how in ("", "+huffman"))
    assert plain.sent_bytes == 6 * 48 * 48 * 2 / 8
    assert coded.sent_bytes < 0.8 * plain.sent_bytes
    assert coded.score == plain.score
    assert coded.score.lost(whole.score) < 0.05


def test_a_cut_in_floating_point_changes_nothing(pipeline: Pipeline, cut: str) -> None:
    pictures = list(scenes(4, 44_000))
    whole, split = (pipeline.judged(Way(place), pictures) for place in (OUTPUT, cut))
    assert [[r.plate.text for r in each] for each in split.found] == [[r.plate.text for r in e] for e in whole.found]
    assert whole.sent_bytes == 0
    assert split.sent_bytes == 4 * 6 * 48 * 48


def test_the_study_from_the_plan_to_the_pictures(pipeline: Pipeline, measured: Known, tmp_path: Path) -> None:
    setting = replace(Setting(), loss=0.05)
    test = list(scenes(FEW, TEST_SEED))
    found = study(pipeline, measured, setting, ["5Mbit"], list(scenes(FEW, VALIDATION_SEED)), test)
    picked = found.choosing.picked
    assert picked.fits
    assert picked.measured
    assert picked.loss is not None
    assert picked.loss <= setting.loss
    names = [row.candidate.name for row in found.rows]
    assert names[0] == "camera, floating point"
    assert names[-1] == "**Auto-Split**"
    assert table(found.rows).count("\n") == len(found.rows) + 1
    rows: list[Mapping[str, Any]] = json.loads(json.dumps(told(setting, found, FEW)))["rows"]
    raw = next(row for row in rows if row["name"] == "server, raw picture")
    assert raw["measured_bytes"] >= 3 * 192 * 192
    assert min(row["total_s"] for row in rows) > 0
    written(tmp_path, pipeline, found, test)
    with Image.open(tmp_path / "plates.jpg") as sheet:
        assert sheet.width > 1000


def test_a_camera_too_small_for_any_head_leaves_all_to_the_server(pipeline: Pipeline, measured: Known) -> None:
    setting = replace(Setting(), loss=0.1, memory="1KiB")
    made = best(pipeline, measured, setting, list(scenes(2, VALIDATION_SEED)), lambda _: None)
    assert made.picked.cut == INPUT
    assert "no head fits" in made.plan.why


def test_a_choice_is_priced_anew_with_another_factor_for_few_bits(
    pipeline: Pipeline, measured: Known, cut: str
) -> None:
    problem = problem_of(pipeline, measured, Setting())
    made = Choosing(problem, PLANNERS["server_only"](problem), uniform(problem, cut, 8))
    once, tenfold = (priced_at(made, factor).picked for factor in (1.0, 10.0))
    assert tenfold.device_s == pytest.approx(10 * once.device_s)
    assert tenfold.link_s == once.link_s
    assert tenfold.total_s > once.total_s
    assert measured.narrow.keys() == {cut, OUTPUT}


@pytest.mark.slow
def test_the_same_answers_over_a_link(pipeline: Pipeline, measured: Known) -> None:
    setting = replace(Setting(), loss=0.05, slowdown=2.0, up="20Mbit", rtt="2ms")
    pictures = list(scenes(FEW, TEST_SEED))
    found = study(pipeline, measured, setting, [], list(scenes(FEW, VALIDATION_SEED)), pictures)
    asked = {row.candidate.name: row.candidate.asked for row in found.rows}
    live = run_live(pipeline, found.choosing.problem, setting, asked, pictures[:6], lambda _: None)
    for row in found.rows:
        timed = with_live(row, live[row.candidate.name])
        assert timed.same == 1.0, row.candidate.name
        assert timed.live is not None
        assert timed.live.answered.sent_bytes == pytest.approx(row.sent_bytes, rel=0.1, abs=64)

"""A camera that reads number plates: how much of the network it should run itself, and with how many bits.

    python examples/plate_camera/plate_camera.py

Measures what few bits cost this network, asks Auto-Split for the camera at hand (slow, little memory, a thin uplink),
measures on labelled pictures what its proposals lose, then runs the plan and what it is compared with between two
processes over a shaped link. Writes `results.json`, `plates.jpg` and `curve.svg` to `--out`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image
from plate_compared import Compared, candidates, compared, upload, ways_to_send, with_live
from plate_curve import curve
from plate_drawing import Row, annotated, sheet, tiled
from plate_live import run_live
from plate_pictures import Scene, scenes
from plate_pipeline import TEST_SEED, VALIDATION_SEED, Pipeline, Way, as_sent
from plate_planning import Choosing, Known, Setting, best, known

from isthmus.errors import IsthmusError
from isthmus.graph import INPUT, OUTPUT
from isthmus.units import show_bytes, show_seconds

BEFORE_NARROW = 6
"""Nodes before the narrow place: three convolutions, each with its activation."""
_SHOWN = 4
"""Pictures in the sheet."""


@dataclass(frozen=True)
class Study:
    """What came out: the choice, what was measured for it, the rows of the table, and the choice at other rates."""

    choosing: Choosing
    measured: Known
    rows: tuple[Compared, ...]
    rates: dict[str, Choosing]


def study(
    pipeline: Pipeline,
    measured: Known,
    setting: Setting,
    rates: Sequence[str],
    validation: Sequence[Scene],
    test: Sequence[Scene],
) -> Study:
    """Plan by the validation pictures, compare on the test pictures; in one process."""
    choosing = best(pipeline, measured, setting, validation, say)
    say(choosing.plan.why)
    others = {rate: best(pipeline, measured, replace(setting, up=rate), validation, say) for rate in rates}
    rows = tuple(compared(pipeline, candidate, test) for candidate in candidates(choosing, measured.narrow))
    return Study(choosing, measured, rows, others)


def narrow_place(pipeline: Pipeline) -> str:
    """The cut behind the first three convolutions."""
    return next(c.id for c in pipeline.engine.cuts if len(c.head) == BEFORE_NARROW)


def table(rows: Sequence[Compared]) -> str:
    """The comparison as a Markdown table."""
    head = ["where it runs", "mAP@0.5", "characters", "plates", "latency", "planned", "weights", "memory", "sent"]
    lines = [head, ["---"] * len(head), *(_cells(row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cells(row: Compared) -> list[str]:
    solution = row.candidate.solution
    memory = show_bytes(solution.memory_bytes) if solution.memory_bytes else "–"
    shares = (row.score.average_precision, row.score.characters, row.score.plates)
    return [
        row.candidate.name,
        *(f"{100 * share:.1f} %" for share in shares),
        "–" if row.live is None else show_seconds(row.live.seconds),
        show_seconds(solution.total_s),
        show_bytes(solution.weight_bytes) if solution.weight_bytes else "–",
        memory if solution.fits else f"{memory}: too much",
        show_bytes(round(row.sent_bytes)) if row.sent_bytes else "–",
    ]


def told(setting: Setting, found: Study, pictures: int) -> dict[str, Any]:
    """Everything but the readings, for results.json."""
    rows = []
    for row in found.rows:
        live = None if row.live is None else asdict(row.live)
        if live is not None:
            live["answered"].pop("found")
        rows.append(
            {
                "name": row.candidate.name.strip("*"),
                **row.candidate.solution.model_dump(mode="json", exclude={"bits", "name", "front", "agreed"}),
                "score": asdict(row.score),
                "measured_bytes": row.sent_bytes,
                "live": live,
                "same_readings_live": row.same,
            }
        )
    return {
        "setting": asdict(setting),
        "pictures": pictures,
        "why": found.choosing.plan.why,
        "narrow": found.measured.narrow,
        "losses": found.measured.losses,
        "rows": rows,
        "rates": {rate: _rate(made) for rate, made in found.rates.items()},
    }


def _rate(made: Choosing) -> dict[str, float | str]:
    picked = made.picked
    jpeg = upload(made.problem, "jpeg:90").total_s
    raw = upload(made.problem, "int8").total_s
    return {"choice": picked.name, "planned_s": picked.total_s, "jpeg90_s": jpeg, "raw_s": raw, "why": made.plan.why}


def rates_table(found: Study) -> str:
    """The choice at other rates, as a Markdown table."""
    head = ["uplink", "Auto-Split runs", "planned", "JPEG 90", "raw picture"]
    lines = [head, ["---"] * len(head)]
    for rate, made in found.rates.items():
        row = _rate(made)
        picked = made.picked
        what = {INPUT: f"all on the server, {picked.codec}", OUTPUT: "all on the camera"}
        times = [show_seconds(float(row[key])) for key in ("planned_s", "jpeg90_s", "raw_s")]
        lines.append([rate, what.get(picked.cut, f"cut after {picked.cut}, {picked.codec}"), *times])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def written(out: Path, pipeline: Pipeline, found: Study, pictures: Sequence[Scene]) -> None:
    """The sheet and the curve."""
    problem, cut = found.choosing.problem, narrow_place(pipeline)
    series = ways_to_send(pipeline, problem, cut, pictures)
    whole = found.rows[0].score.characters
    (out / "curve.svg").write_text(curve(series, whole), encoding="utf-8")
    picked = found.rows[-1]
    shown = pictures[:_SHOWN]
    rows = [
        _row("whole network", whole, 0.0, [annotated(s, f) for s, f in zip(shown, found.rows[0].found, strict=False)]),
        _row("Auto-Split", picked.score.characters, picked.sent_bytes,
             [annotated(s, f) for s, f in zip(shown, picked.found, strict=False)]),
    ]  # fmt: skip
    if picked.candidate.solution.bits is not None and picked.sent_bytes:
        way = Way.of(picked.candidate.solution)
        bits = f"{picked.candidate.solution.wire_bits:.0f} bits a value"
        rows.append(Row("what crosses", bits, [tiled(pipeline.crossing(way, s)) for s in shown]))
    near = min(series["JPEG"], key=lambda p: abs(p.sent_bytes - picked.sent_bytes))
    small = [as_sent(f"jpeg:{near.name}", s) for s in shown]
    answers = pipeline.judged(Way(INPUT, f"jpeg:{near.name}"), shown).found
    drawn = [annotated(s, f) for s, f in zip(small, answers, strict=True)]
    rows.append(_row(f"JPEG {near.name}", near.characters, near.sent_bytes, drawn))
    sheet(rows).save(out / "plates.jpg", quality=80)


def _row(title: str, characters: float, sent_bytes: float, pictures: Sequence[Image.Image]) -> Row:
    sent = f"{show_bytes(round(sent_bytes))} sent\n" if sent_bytes else ""
    return Row(title, f"{sent}{100 * characters:.1f} % of characters", pictures)


def say(text: str) -> None:
    """A line, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    usual = Setting()
    parser.add_argument("--pictures", type=int, default=200, help="to choose by, and as many others to report")
    parser.add_argument("--requests", type=int, default=40, help="over the link, a way; 0 leaves the link out")
    parser.add_argument("--slowdown", type=float, default=usual.slowdown, help="camera beside this machine")
    parser.add_argument("--uplink", default=usual.up)
    parser.add_argument("--rates", default="500kbit,2Mbit,5Mbit", help="other uplinks to plan for")
    parser.add_argument("--memory", default=usual.memory, help="of the camera, for the network")
    parser.add_argument("--out", type=Path, default=Path("plate_camera"))
    given = parser.parse_args()
    setting = Setting(slowdown=given.slowdown, up=given.uplink, memory=given.memory)
    given.out.mkdir(parents=True, exist_ok=True)
    say(f"{given.pictures} pictures to choose by, {given.pictures} to report, none of them trained on")
    pipeline = Pipeline.open()
    test = list(scenes(given.pictures, TEST_SEED))
    validation = list(scenes(given.pictures, VALIDATION_SEED))
    measured = known(pipeline, setting, narrow_place(pipeline), validation[:50])
    for cut, factor in measured.narrow.items():
        say(f"up to {cut}, 8 bits take {factor:.2f} × the time of floating point here")
    found = study(pipeline, measured, setting, given.rates.split(","), validation, test)
    if given.requests:
        asked = {row.candidate.name: row.candidate.asked for row in found.rows}
        live = run_live(pipeline, found.choosing.problem, setting, asked, test[: given.requests], say)
        found = replace(found, rows=tuple(with_live(row, live[row.candidate.name]) for row in found.rows))
    say(table(found.rows))
    say(rates_table(found))
    text = json.dumps(told(setting, found, given.pictures), indent=1)
    (given.out / "results.json").write_text(text + "\n", encoding="utf-8")
    written(given.out, pipeline, found, test)
    say(f"written to {given.out}")


if __name__ == "__main__":
    try:
        main()
    except IsthmusError as error:
        raise SystemExit(str(error)) from None

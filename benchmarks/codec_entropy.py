"""What do bits, clip and Huffman codes of a crossing tensor cost in accuracy and bytes, against sending the picture?

Trained networks on labelled pictures of the folder that ISTHMUS_DATA names: MobileNetV2 on a part of ImageNet's
validation set, ResNet-20 and -56 on CIFAR-10. For every cut × bits × clip the accuracy of the tail on what arrives and
the bytes a picture, as on the wire, plain and Huffman-coded; every payload really is written and read. Clips are
calibrated on other pictures and then constant: `range` (each channel's least and greatest value, as Huffman-coded
codecs use them from 3 bits up), `sigma` (a few of each channel's standard deviations, as other codecs do), `tensor`
(one range for all channels); `measured` is the range of the tensor at hand, sent in front.
Peers, in the same run and on the same pictures: JPEG and WebP at several qualities, with the accuracy they leave.
`give_or_take` is the standard error of a loss, pictures that both have right or wrong counting for nothing.
`over_picture` is bytes over those of the smallest picture that loses at most one point. Also the time of writing and
reading 50,176 elements at every width, over that of the same codec without Huffman codes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from codec_curves import draw_curves
from numpy.typing import NDArray

from isthmus.codec import Array, Codec, Huffman, PictureScale, PlanarClip, PlanarRange, make_codec
from isthmus.engine import Engine
from isthmus.graph import Cut, block_cuts
from isthmus.model import load_model
from isthmus.profile.datasets import judged_pictures
from isthmus.quant import Calibrator, ChannelClip

WIDTHS = (8, 6, 5, 4, 3, 2, 1)
NARROWED = (4, 3, 2)
"""Widths at which the clip matters."""
QUALITIES = {"jpeg": (95, 85, 75, 50, 30, 15), "webp": (95, 80, 60, 40, 20)}
POINT = 0.01
BATCH = 20
Floats = NDArray[np.float32]
Rights = NDArray[np.bool_]


@dataclass(frozen=True)
class Net:
    """A trained network, how its pictures are made, and the output of their first class."""

    file: str
    data: str
    scale: PictureScale
    side: int
    first_class: int = 0


_TORCH = PictureScale((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
NETS = {
    "mobilenet_v2": Net("mobilenet_v2_1.0_224", "imagenet", PictureScale((0.5,) * 3, (0.5,) * 3), 224, 1),
    "resnet20": Net("cifar10_resnet20", "cifar10", _TORCH, 32),
    "resnet56": Net("cifar10_resnet56", "cifar10", _TORCH, 32),
}


@dataclass(frozen=True)
class Set:
    """Pictures to calibrate with, others to judge by, and the right outputs of those."""

    calibration: Floats
    pictures: Floats
    labels: NDArray[np.int64]


def study(name: str, data: Path, images: int, calibrate: int, cuts: int) -> dict[str, Any]:
    """Rows of one network."""
    net = NETS[name]
    engine = Engine.open(load_model(data / "models" / f"{net.file}.onnx"), threads=1, cuts="none")
    judged = pictures_of(net, data, images, calibrate)
    answers = np.concatenate([whole(engine, part) for part in batches(judged.pictures)])
    base = right_of(answers, judged)
    rows = [picture_row(engine, net, judged, name, base) for name in picture_names()]
    for cut in chosen(engine, cuts):
        print(f"{name}: {cut.id}", file=sys.stderr)
        rows += cut_rows(engine, cut, judged, base)
    # a picture that loses more than a point is no peer; 95 loses little anywhere
    peer = min((r["bytes"] for r in rows if r["cut"] == "input" and r["loss"] <= POINT), default=None)
    for row in rows:
        row["over_picture"] = None if peer is None else row["bytes"] / peer
    score = float(base.mean())
    return {"network": name, "images": len(judged.labels), "accuracy": score, "picture_bytes": peer, "rows": rows}


def pictures_of(net: Net, data: Path, images: int, calibrate: int) -> Set:
    """CIFAR-10's pictures to learn from calibrate; of ImageNet's part the first do."""
    if net.data == "imagenet":
        _, pictures, labels = judged_pictures(net.data, data_folder=data, side=net.side)
        early, pictures, labels = pictures[:calibrate], pictures[calibrate:], labels[calibrate:]
        pictures, labels = pictures[:images], labels[:images]
    else:
        _, pictures, labels = judged_pictures(net.data, data_folder=data, most=images)
        _, early, _ = judged_pictures(net.data, data_folder=data, most=calibrate, train=True)
    mean, std = (np.array(v, np.float32)[:, None, None] for v in (net.scale.mean, net.scale.std))
    return Set((early - mean) / std, (pictures - mean) / std, labels + net.first_class)


def chosen(engine: Engine, count: int) -> list[Cut]:
    """Block outputs evenly spread over the network, without the widest at its start."""
    found = block_cuts(engine.graph)[2:]
    return [found[i] for i in np.unique(np.linspace(0, len(found) - 1, count).round().astype(int))]


def cut_rows(engine: Engine, cut: Cut, judged: Set, base: Rights) -> list[dict[str, Any]]:
    """Every clip and width at one cut."""
    crossing = cut.crossing[0]
    clips = clips_of(head(engine, cut, part) for part in batches(judged.calibration))
    sent = np.concatenate([head(engine, cut, part) for part in batches(judged.pictures)])
    rows = []
    for kind, clip in clips.items():
        for bits in WIDTHS if kind == "range" else NARROWED if kind != "sigma" else (*NARROWED, 1):
            plain, coded = codecs_of(bits, clip, whole=kind != "sigma")
            arrived, size = through(coded, sent)
            answers = [engine.tail(cut.id, {crossing: part})[last(engine)] for part in batches(arrived)]
            flat = plain.payload_bytes((1, *sent.shape[1:]), 4)
            expected = coded.payload_bytes((1, *sent.shape[1:]), 4)
            elements = sent[0].size
            rows.append(
                {
                    "cut": cut.id, "shape": list(sent.shape[1:]), "clip": kind, "bits": bits, "codec": coded.name,
                    "bytes": size, "plain_bytes": flat, "expected_bytes": expected, "float32_bytes": 4 * elements,
                    "bits_per_element": 8 * size / elements, "times_smaller": 4 * elements / size,
                    **lost(np.concatenate(answers), judged, base),
                }
            )  # fmt: skip
    return rows


def codecs_of(bits: int, clip: ChannelClip | None, *, whole: bool) -> tuple[Codec, Codec]:
    """Plain and Huffman-coded, with the same levels."""
    plain = PlanarRange(bits, whole) if clip is None else PlanarClip(bits, clip, whole=whole)
    return plain, Huffman(plain)


def clips_of(parts: Iterator[Floats]) -> dict[str, ChannelClip | None]:
    """The clips that are compared."""
    own, together = Calibrator(), Calibrator(per_channel=False)
    for part in parts:
        own.update(part)
        together.update(part)
    return {"range": own.get(), "sigma": own.get(), "tensor": together.get(), "measured": None}


def picture_row(engine: Engine, net: Net, judged: Set, name: str, base: Rights) -> dict[str, Any]:
    arrived, size = through(make_codec(name, picture=net.scale), judged.pictures)
    answers = np.concatenate([whole(engine, part) for part in batches(arrived)])
    return {"cut": "input", "codec": name, "bytes": size, **lost(answers, judged, base)}


def picture_names() -> list[str]:
    return [f"{kind}:{quality}" for kind, qualities in QUALITIES.items() for quality in qualities]


def through(codec: Codec, values: Floats) -> tuple[Floats, float]:
    """What arrives where every sample crosses by itself, and the mean of the bytes."""
    arrived, size = np.empty_like(values), 0
    for place, one in enumerate(values):
        payload = memoryview(codec.dump(one[None]))
        size += payload.nbytes
        arrived[place] = codec.load(payload, (1, *one.shape), "float32")[0]
    return arrived, size / len(values)


def whole(engine: Engine, part: Floats) -> Array:
    return engine.whole({engine.model.inputs[0].name: part})[last(engine)]


def head(engine: Engine, cut: Cut, part: Floats) -> Floats:
    made: Floats = np.asarray(engine.head(cut.id, {engine.model.inputs[0].name: part})[cut.crossing[0]], np.float32)
    return made


def last(engine: Engine) -> str:
    return engine.model.outputs[-1].name


def batches(x: Floats) -> Iterator[Floats]:
    for start in range(0, len(x), BATCH):
        yield x[start : start + BATCH]


def right_of(answers: Array, judged: Set) -> Rights:
    right: Rights = np.argmax(answers, axis=-1).reshape(-1) == judged.labels
    return right


def lost(answers: Array, judged: Set, base: Rights) -> dict[str, float]:
    """Accuracy, the loss against the whole network's right answers, and its standard error."""
    right = right_of(answers, judged)
    apart = base.astype(np.float64) - right
    error = float(apart.std() / np.sqrt(len(apart)))
    return {"accuracy": float(right.mean()), "loss": float(apart.mean()), "give_or_take": error}


def speeds(elements: int = 50_176) -> list[dict[str, Any]]:
    """Least and median of many runs, of features drawn at random whose neighbours are alike."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 64, 28, elements // (64 * 28)))
    x = (x + np.roll(x, 1, -1)).astype(np.float32)
    seen = Calibrator()
    seen.update(x)
    found = []
    for bits in WIDTHS:
        cells = {}
        for how in ("", "+huffman"):
            codec = make_codec(f"int{bits}{how}", seen.get())
            payload = memoryview(codec.dump(x))
            calls = (partial(codec.dump, x), partial(codec.load, payload, x.shape, "float32"))
            cells[how] = [taken_s(call) for call in calls]
        both, usual = (sum(cell[k] for cell in cells["+huffman"]) for k in (0, 1))
        found.append({"bits": bits, "elements": x.size, "write_s": cells["+huffman"][0][0],
                      "read_s": cells["+huffman"][1][0], "both_s": both, "both_median_s": usual,
                      "over_plain": both / sum(cell[0] for cell in cells[""])})  # fmt: skip
    return found


def taken_s(call: Callable[[], object], runs: int = 200) -> tuple[float, float]:
    """(least, median)."""
    taken = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return min(taken), statistics.median(taken)


def best_of(result: dict[str, Any]) -> list[dict[str, Any]]:
    """For each cut, the fewest bytes that lose at most a point."""
    kept: dict[str, dict[str, Any]] = {}
    for row in result["rows"]:
        if row["cut"] != "input" and row["loss"] <= POINT:
            before = kept.get(row["cut"])
            kept[row["cut"]] = row if before is None or row["bytes"] < before["bytes"] else before
    return list(kept.values())


def rules_of(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each width and clip, the worst over all cuts: how many times smaller, and how much is lost."""
    every: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in (row for result in results for row in result["rows"] if row["cut"] != "input"):
        every.setdefault((row["codec"], row["clip"]), []).append(row)
    return [
        {"codec": codec, "clip": clip, "cuts": len(rows), "least_times": min(r["times_smaller"] for r in rows),
         "most_lost": max(r["loss"] for r in rows)}
        for (codec, clip), rows in every.items()
    ]  # fmt: skip


def table(answer: dict[str, Any]) -> str:
    lines = []
    for result in answer["networks"]:
        peer = result["picture_bytes"]
        lines.append(
            f"{result['network']}: {100 * result['accuracy']:.1f} % of {result['images']} pictures; smallest picture "
            f"within a point {'none' if peer is None else f'{peer:.0f} bytes'}"
        )
        lines.append(
            f"  {'cut':<26}{'codec':<15}{'clip':<8}{'bytes':>8}{'plain':>8}{'expected':>9}{'b/el':>6}"
            f"{'× smaller':>10}{'/ picture':>10}{'loss, points':>13}"
        )
        lines += [f"  {line_of(row)}" for row in result["rows"]]
        lines.append("  fewest bytes within a point at each cut:")
        lines += [f"  {line_of(row)}" for row in best_of(result)]
    lines += [
        f"{rule['codec']}, clip {rule['clip']}: at least {rule['least_times']:.1f} × smaller, at most "
        f"{100 * rule['most_lost']:.1f} points lost at {rule['cuts']} cuts"
        for rule in answer["rules"]
    ]
    for row in answer["speeds"]:
        lines.append(
            f"int{row['bits']}+huffman, {row['elements']} elements: write {1e3 * row['write_s']:.2f} ms, "
            f"read {1e3 * row['read_s']:.2f} ms, both {1e3 * row['both_s']:.2f} (median "
            f"{1e3 * row['both_median_s']:.2f}), {row['over_plain']:.1f} × the plain codec"
        )
    return "\n".join(lines)


def line_of(row: dict[str, Any]) -> str:
    against = "" if row["over_picture"] is None else f"{row['over_picture']:.2f}"
    if row["cut"] == "input":
        middle = f"{'':>8}{'':>9}{'':>6}{'':>10}"
    else:
        middle = (
            f"{row['plain_bytes']:>8}{row['expected_bytes']:>9}{row['bits_per_element']:>6.2f}"
            f"{row['times_smaller']:>10.1f}"
        )
    return (
        f"{row['cut'][-25:]:<26}{row['codec']:<15}{row.get('clip', ''):<8}{row['bytes']:>8.0f}{middle}"
        f"{against:>10}{100 * row['loss']:>13.1f} ± {100 * row['give_or_take']:.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--networks", default=",".join(NETS), help="which of them")
    parser.add_argument("--images", type=int, default=500, help="pictures whose accuracy is measured")
    parser.add_argument("--calibrate", type=int, default=100, help="other pictures, for calibration")
    parser.add_argument("--cuts", type=int, default=5, help="block outputs of each network")
    parser.add_argument("--picture", type=Path, metavar="FILE.svg", help="draw accuracy over bytes")
    asked = parser.parse_args()
    data = os.environ.get("ISTHMUS_DATA")
    if not data:
        sys.exit("set ISTHMUS_DATA to a folder with models/ and images/ to run this benchmark")
    names = asked.networks.split(",")
    unknown = [name for name in names if name not in NETS]
    if unknown:
        sys.exit(f"there is no network {unknown[0]}; known are {', '.join(NETS)}")
    found = [study(name, Path(data), asked.images, asked.calibrate, asked.cuts) for name in names]
    answer = {"networks": found, "rules": rules_of(found), "speeds": speeds()}
    if asked.picture is not None:
        asked.picture.write_text(draw_curves(found), encoding="utf-8")
    print(json.dumps(answer) if asked.json else table(answer))


if __name__ == "__main__":
    main()

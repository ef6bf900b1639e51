"""What do few bits at a cut cost in accuracy and bytes, against sending the picture as JPEG or WebP instead?

MobileNetV2 on labelled ImageNet images of the folder that ISTHMUS_DATA names. Each cut's statistics are calibrated
on the first images and then constant; the accuracy is that of other images. Peer, in the same run and on the same
images: the encoded picture, which is what a user would send. Bytes are per image, as on the wire.
The last cut is a vector of 1,280 features: one range a feature there against one for the tensor.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.utils
import onnxruntime as ort
from numpy.typing import NDArray
from PIL import Image

from isthmus.codec import Codec, PictureScale, make_codec
from isthmus.quant import Calibrator, ChannelClip

CUTS = {"32x28x28": "t93", "64x14x14": "t113", "96x14x14": "t140", "160x7x7": "t160", "1280": "t169"}
"""Tensors of the model file, by shape: the last block output of each size, and the pooled features."""
BITS = (8, 4, 3, 2)
PICTURES = ("jpeg:95", "jpeg:75", "webp:80")
SCALE = PictureScale((0.5,) * 3, (0.5,) * 3)
BATCH = 10
Floats = NDArray[np.float32]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--images", type=int, default=200, help="images whose accuracy is measured")
    parser.add_argument("--calibrate", type=int, default=100, help="images before them, for calibration")
    asked = parser.parse_args()
    data = os.environ.get("ISTHMUS_DATA")
    if not data:
        sys.exit("set ISTHMUS_DATA to a folder with models/ and images/ to run this benchmark")
    answer = measure(Path(data), asked.calibrate, asked.images)
    print(json.dumps(answer) if asked.json else table(answer))


def measure(data: Path, calibrate: int, images: int) -> dict[str, Any]:
    """Rows of accuracy and bytes; every codec's payload really is written and read."""
    model = onnx.load(data / "models" / "mobilenet_v2_1.0_224.onnx")
    x, labels = pictures(data / "images" / "imagenet_val_227_650.zip", calibrate + images)
    calibration, x, labels = x[:calibrate], x[calibrate:], labels[calibrate:]
    whole = session(model, "input", "output")
    plain = np.concatenate([run(whole, b) for b in batches(x)])
    rows = [row("input", name, *sent(make_codec(name, picture=SCALE), x, whole), labels, plain) for name in PICTURES]
    for label, tensor in CUTS.items():
        head, tail = session(model, "input", tensor), session(model, tensor, "output")
        clips = {"channel": clip_of(head, calibration, per_channel=True)}
        if label == "1280":
            clips["tensor"] = clip_of(head, calibration, per_channel=False)
        crossing = np.concatenate([run(head, b) for b in batches(x)])
        for kind, clip in clips.items():
            for bits in BITS:
                codec = make_codec(f"int{bits}", clip)
                name = codec.name if kind == "channel" else f"{codec.name}, one range"
                rows.append(row(label, name, *sent(codec, crossing, tail), labels, plain))
        measured = make_codec("int2")
        rows.append(row(label, "int2, measured range", *sent(measured, crossing, tail), labels, plain))
    cheapest = min(r["bytes"] for r in rows if r["cut"] == "input")
    for r in rows:
        r["bytes_over_cheapest_picture"] = r["bytes"] / cheapest
    return {"images": len(labels), "calibrated_on": calibrate, "whole_accuracy": accuracy(plain, labels), "rows": rows}


def pictures(path: Path, count: int) -> tuple[Floats, NDArray[np.int64]]:
    """The first `count` images, centre 224 x 224, normalised, (N, 3, 224, 224), and their labels."""
    with zipfile.ZipFile(path) as archive:
        lines = archive.read("labels.txt").decode().split("\n")[:count]
        names, labels = zip(*(line.split() for line in lines if line), strict=True)
        pixels = np.stack([centre(archive.read(name)) for name in names])
    return SCALE.from_pixels(pixels), np.array([int(label) for label in labels])


def centre(data: bytes) -> NDArray[np.uint8]:
    image = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    top, left = (image.shape[0] - 224) // 2, (image.shape[1] - 224) // 2
    return image[top : top + 224, left : left + 224]


def session(model: onnx.ModelProto, first: str, last: str) -> ort.InferenceSession:
    part = onnx.utils.Extractor(model).extract_model([first], [last])
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(part.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(part: ort.InferenceSession, x: Floats) -> Floats:
    answer: Floats = part.run(None, {part.get_inputs()[0].name: x})[0]
    return answer


def batches(x: Floats) -> Iterator[Floats]:
    for start in range(0, len(x), BATCH):
        yield x[start : start + BATCH]


def clip_of(head: ort.InferenceSession, x: Floats, *, per_channel: bool) -> ChannelClip:
    seen = Calibrator(per_channel=per_channel)
    for batch in batches(x):
        seen.update(run(head, batch))
    return seen.get()


def sent(codec: Codec, x: Floats, tail: ort.InferenceSession) -> tuple[Floats, float]:
    """(answers, bytes an image) when every image crosses by itself."""
    arrived, size = [], 0
    for one in x:
        payload = memoryview(codec.dump(one[None]))
        size += payload.nbytes
        arrived.append(codec.load(payload, (1, *one.shape), "float32"))
    crossed: Floats = np.concatenate(arrived)
    return np.concatenate([run(tail, b) for b in batches(crossed)]), size / len(x)


def accuracy(answers: Floats, labels: NDArray[np.int64]) -> float:
    """Top-1 of 1,001 classes whose first is the background."""
    return float((answers.argmax(1) - 1 == labels).mean())


def row(cut: str, codec: str, answers: Floats, size: float, labels: NDArray[np.int64], plain: Floats) -> dict[str, Any]:
    same = float((answers.argmax(1) == plain.argmax(1)).mean())
    return {"cut": cut, "codec": codec, "bytes": size, "accuracy": accuracy(answers, labels), "same_as_whole": same}


def table(answer: dict[str, Any]) -> str:
    lines = [
        f"{answer['images']} images, calibrated on {answer['calibrated_on']} others; "
        f"whole model {100 * answer['whole_accuracy']:.1f} %",
        f"{'cut':<10}{'codec':<24}{'bytes':>8}{'/ picture':>11}{'accuracy %':>12}{'as whole %':>12}",
    ]
    for r in answer["rows"]:
        lines.append(
            f"{r['cut']:<10}{r['codec']:<24}{r['bytes']:>8.0f}{r['bytes_over_cheapest_picture']:>11.2f}"
            f"{100 * r['accuracy']:>12.1f}{100 * r['same_as_whole']:>12.1f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()

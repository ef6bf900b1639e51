"""What do early exits cost the last one, and how many inputs do they save the rest of the network?

B-LeNet is trained twice in one run, with the same pictures, first weights, order, steps and settings: with its exits,
all together, and without them. Reported: the last exit's test accuracy against that of the network alone; the share of
test inputs that leave at the first exit when thresholds chosen on the validation part may cost at most `--loss`, what
it costs them on the test part, and the mean work against that of the whole network. Data: scikit-learn's digits, and
MNIST's pictures where ISTHMUS_DATA names a folder that has them. Threads: 1.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from isthmus.graph import graph_of
from isthmus.model.exits.branches import Branched
from isthmus.model.exits.export import to_model
from isthmus.model.exits.recipe import Recipe, make, trained
from isthmus.model.exits.train import Labelled, Training, answers_of, train
from isthmus.profile.datasets import Dataset, apart, load_dataset
from isthmus.profile.exit_table import Answers, exit_table

BATCH, VALIDATION = 64, 1 / 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--data", default="digits,mnist", help="names or folders, comma between")
    parser.add_argument("--steps", type=int, default=2000, help="of 64 pictures, at least; whole epochs")
    parser.add_argument("--rate", type=float, default=4e-3)
    parser.add_argument("--loss", type=float, default=0.002, help="accuracy that leaving early may cost, validation")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each kind; the mean is reported, and each")
    parser.add_argument("--weights", default="", help="of the exits' losses, as 0.5,1; the trainer's own without")
    parser.add_argument("--keep", type=Path, help="a folder for checkpoints; the same command goes on from them")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    root = os.environ.get("ISTHMUS_DATA")
    names = [n for n in asked.data.split(",") if root or n != "mnist"]
    rows = []
    weights = tuple(float(w) for w in asked.weights.split(",") if w)
    for name in names:
        pictures = load_dataset(name, data_folder=Path(root) if root else None)
        epochs = math.ceil(asked.steps / max(1, int(len(pictures.train) * (1 - VALIDATION)) // BATCH))
        how = Training(
            epochs=epochs, batch=BATCH, rate=asked.rate, shift=max(1, pictures.shape[1] // 14), patience=epochs,
            weights=weights,
        )  # fmt: skip
        seeds = [how.model_copy(update={"seed": seed}) for seed in range(asked.seeds)]
        rows.append(together([compared(pictures, one, asked.loss, asked.keep) for one in seeds]))
    print(json.dumps({"rows": rows}) if asked.json else "\n".join(map(line, rows)))


def compared(pictures: Dataset, how: Training, loss: float, keep: Path | None) -> dict[str, Any]:
    """Both trainings on one data set, from their checkpoints where there are some."""
    learn, validate = apart(pictures.train, VALIDATION, how.seed)
    parts = [Labelled(pictures.floats(p), p.labels) for p in (learn, validate, pictures.test)]
    recipe = Recipe(net="b_lenet", shape=pictures.shape, classes=len(pictures.classes), seed=how.seed)
    start = time.perf_counter()
    with nullcontext(keep) if keep is not None else tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / f"{pictures.name}-{how.seed}"
        net, _ = trained(recipe, parts[0], parts[1], how, place, resume=True)
        seconds = time.perf_counter() - start
        alone = Branched(make(recipe).net, {})
        how_alone = how.model_copy(update={"weights": ()})
        train(alone, parts[0], parts[1], how_alone, checkpoint=place / "alone.pt", resume=True)
    answers = [Answers(answers_of(net, p.pictures), p.labels) for p in parts[1:]]
    graph = graph_of(to_model(net, pictures.shape, name=recipe.net))
    table = exit_table(graph, *answers, data=pictures.name, allowed_loss=loss)
    without = float((answers_of(alone, parts[2].pictures)["exit1"].argmax(1) == parts[2].labels).mean())
    last = table.rows[-1]
    return {
        "data": pictures.name,
        "learnt_from": len(learn),
        "tested_on": len(pictures.test),
        "epochs": how.epochs,
        "train_s": seconds,
        "without_exits": without,
        "last_exit": last.accuracy,
        "points_lost_at_the_last_exit": 100 * (without - last.accuracy),
        "first_exit": table.rows[0].accuracy,
        "leaving_at_the_first_exit": table.rows[0].share,
        "leaving_early": table.accuracy,
        "points_lost_by_leaving_early": 100 * (last.accuracy - table.accuracy),
        "work_over_whole": table.mean_macs / last.macs,
    }


def together(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over the seeds, and the points that each lost at the last exit."""
    mean = {k: v if isinstance(v, str) else sum(r[k] for r in runs) / len(runs) for k, v in runs[0].items()}
    return mean | {"points_lost_by_seed": [r["points_lost_at_the_last_exit"] for r in runs]}


def line(row: dict[str, Any]) -> str:
    return (
        f"{row['data']}: without exits {row['without_exits']:.2%}, last exit {row['last_exit']:.2%} "
        f"({row['points_lost_at_the_last_exit']:+.2f} points lost); {row['leaving_at_the_first_exit']:.1%} leave at "
        f"the first exit, {row['leaving_early']:.2%} right, {row['work_over_whole']:.0%} of the work; "
        f"{row['train_s']:.0f} s"
    )


if __name__ == "__main__":
    main()

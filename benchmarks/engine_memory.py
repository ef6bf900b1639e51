"""What does it cost in memory to have every fusion-safe cut ready, against one plain onnxruntime session?

Each side runs in a fresh process: a plain session of the whole network loaded from a file and run once; the engine with
every safe cut ready, each head and tail run twice. Counted is the growth since the imports, after free memory has been
given back (malloc_trim) on both sides: private memory, plus the proportional share of the weights' mapped pages, so
that a page mapped by forty sessions counts once. The limit is 1.2 times the plain session.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import onnx
import onnx_ir
import onnxruntime as ort

from isthmus.engine import Engine
from isthmus.model import load_model, load_model_file

LIMIT = 1.2


def held_mb() -> dict[str, float]:
    """Private (anonymous) MB of this process and MB of its share of mapped weights, free memory given back first."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    weights_kb = anonymous_kb = 0
    counting = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        words = line.split()
        if "-" in words[0] and not words[0].endswith(":"):
            counting = words[-1].endswith(("weights.bin", "source.bin", ".onnx"))
        elif words[0] == "Pss:" and counting:
            weights_kb += int(words[1])
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss_Anon:"):
            anonymous_kb = int(line.split()[1])
    return {"private": anonymous_kb / 1024, "weights": weights_kb / 1024}


def plain(path: Path, _: Path) -> int:
    """One session of the whole network, run once."""
    inputs = load_model_file(path, weights=False).random_inputs()
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    session.run(None, inputs)
    report(1)
    return id(session)  # it must live until here


def engine(path: Path, cache: Path) -> int:
    """The engine with every safe cut ready, whole, heads and tails run twice."""
    opened = Engine.open(load_model_file(path), cache_dir=cache)
    inputs = opened.model.random_inputs()
    for _ in range(2):
        opened.whole(inputs)
        for cut in opened.cuts:
            opened.tail(cut.id, opened.head(cut.id, inputs))
    report(1 + 2 * len(opened.safe))
    return id(opened)


def report(sessions: int) -> None:
    print(json.dumps({"sessions": sessions, **held_mb()}))


def measured(side: str, path: Path, cache: Path) -> dict[str, float]:
    """What one side grew by, MB, in a process of its own."""
    command = [sys.executable, __file__, "--side", side, "--file", str(path), "--cache", str(cache)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    before, after = json.loads(lines[0]), json.loads(lines[1])
    grown = {k: after[k] - before[k] for k in ("private", "weights")}
    return {"sessions": after["sessions"], **grown, "total": sum(grown.values())}


def compare(name: str) -> dict[str, object]:
    """Both sides of one network. The cache is filled beforehand: making an entry is not what is measured."""
    with tempfile.TemporaryDirectory() as scratch:
        path, cache = Path(scratch) / "model.onnx", Path(scratch) / "cache"
        model = load_model(name)
        onnx.save_model(model.proto, path)
        Engine.open(load_model_file(path), cache_dir=cache)
        sides = {"plain": measured("plain", path, cache), "engine": measured("engine", path, cache)}
    ratio = sides["engine"]["total"] / sides["plain"]["total"]
    return {"model": name, **sides, "ratio": ratio, "limit": LIMIT, "reached": ratio <= LIMIT}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--model", nargs="+", default=["zoo:resnet50"])
    parser.add_argument("--side", choices=["plain", "engine"], help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--cache", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.side:
        assert onnx_ir.__version__, "imported so that both sides start from the same modules"
        report(0)
        {"plain": plain, "engine": engine}[chosen.side](chosen.file, chosen.cache)
        return
    rows = [compare(name) for name in chosen.model]
    if chosen.json:
        print(json.dumps({"unit": "MB", "rows": rows}, indent=2))
        return
    for row in rows:
        for side in ("plain", "engine"):
            held = row[side]
            assert isinstance(held, dict)
            print(
                f"{row['model']} {side:6} {held['total']:7.1f} MB ({held['private']:.1f} private, "
                f"{held['weights']:.1f} mapped weights) in {held['sessions']} sessions"
            )
        print(f"{row['model']} ratio {row['ratio']:.3f} (limit {LIMIT})")


if __name__ == "__main__":
    main()

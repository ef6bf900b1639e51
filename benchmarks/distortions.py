"""How long do distortion tables take, and how much memory, against running the network on the same samples?

The tables of a network at 2, 4, 6 and 8 bits on random inputs, ranges by mean square error. Floor: one run of the whole
network for every sample, twice over (the tables take two passes), in the same process. Memory: the greatest resident
set of a process of its own that measures, less the libraries and the samples, over the bytes of the weights; pages of
the weights' file that are mapped count.
Aim: ResNet-50 with 32 samples in at most 60 s on two cores, in at most 3 times the model.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import Any

from isthmus.engine import Engine
from isthmus.model import fused, load_model
from isthmus.profile.distortion import RANDOM, Widths, measure_distortions, random_samples

AIM_S = 60.0
AIM_TIMES = 3.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--model", default="zoo:resnet50")
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--alone", action="store_true", help="measure here and print the memory (used by itself)")
    asked = parser.parse_args()
    if asked.alone:
        print(json.dumps(alone(asked.model, asked.samples, asked.threads)))
        return
    words = ["--alone", "--model", asked.model, "--samples", str(asked.samples), "--threads", str(asked.threads)]
    ran = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True, check=True)
    answer = {**json.loads(ran.stdout), "floor_s": floor_s(asked.model, asked.samples, asked.threads)}
    answer["ratio"] = answer["tables_s"] / answer["floor_s"]
    answer["times_model"] = (answer["memory_bytes"] - answer["samples_bytes"]) / answer["model_bytes"]
    answer |= {"aim_s": AIM_S, "aim_times": AIM_TIMES}
    answer["met"] = answer["tables_s"] <= AIM_S and answer["times_model"] <= AIM_TIMES
    print(json.dumps(answer) if asked.json else table(answer))


def alone(name: str, count: int, threads: int) -> dict[str, Any]:
    """Seconds and memory of the tables, in a process that does nothing else."""
    before = resident_bytes()
    model = load_model(name)
    samples = random_samples(model, count)
    start, worked = time.perf_counter(), time.process_time()
    found = measure_distortions(model, samples, Widths(), source=RANDOM, threads=threads)
    return {
        "model": model.name,
        "samples": count,
        "threads": threads,
        "layers": len(found.layers),
        "tables_s": time.perf_counter() - start,
        "cpu_s": time.process_time() - worked,
        "model_bytes": sum(len(t.raw_data) for t in model.proto.graph.initializer),
        "samples_bytes": sum(v.nbytes for v in samples.inputs.values()),
        "memory_bytes": resident_bytes() - before,
    }


def resident_bytes() -> int:
    """The greatest resident set so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def floor_s(name: str, count: int, threads: int) -> float:
    """Seconds of running the network once a sample, twice over."""
    model = fused(load_model(name))
    engine = Engine.open(model, threads=threads, cuts="none")
    inputs = [model.random_inputs(1, seed=k) for k in range(count)]
    engine.whole(inputs[0])
    start = time.perf_counter()
    for part in inputs * 2:
        engine.whole(part)
    return time.perf_counter() - start


def table(answer: dict[str, Any]) -> str:
    return (
        f"{answer['model']}, {answer['samples']} samples, {answer['threads']} thread: {answer['layers']} layers in "
        f"{answer['tables_s']:.1f} s ({answer['cpu_s']:.1f} s of CPU), {answer['ratio']:.1f} times the runs alone "
        f"({answer['floor_s']:.1f} s)\n"
        f"memory: {(answer['memory_bytes'] - answer['samples_bytes']) / 1e6:.0f} MB beside "
        f"{answer['samples_bytes'] / 1e6:.0f} MB of samples, {answer['times_model']:.2f} times the model's "
        f"{answer['model_bytes'] / 1e6:.0f} MB\n"
        f"aim: {AIM_S:.0f} s and {AIM_TIMES:.0f} times the model: {'met' if answer['met'] else 'missed'}"
    )


if __name__ == "__main__":
    main()

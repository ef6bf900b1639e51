"""How much memory a part of few bits takes in the process that runs it, by Linux's count.

Counted is the most that the process has resident while it loads the part and runs it, above what it had before: private
memory and the pages of the weights' file, but not program code (pages of libraries come from files, are shared by
processes and can be dropped at any time). The input belongs to it. Measured in a process of its own that has loaded
onnxruntime and run a network of one node before, with free memory given back to the system first: what Python and
onnxruntime take without any network is not counted.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from isthmus.engine.few_bits import ready_part
from isthmus.engine.heap import give_back
from isthmus.engine.sessions import finished_session, plain_session
from isthmus.engine.store import default_folder
from isthmus.errors import BadInput
from isthmus.model.onnx_file import model_from_proto
from isthmus.model.types import Array

_STATUS, _PEAK, _MAPS = Path("/proc/self/status"), Path("/proc/self/clear_refs"), Path("/proc/self/smaps")
_RUNS = 3
_CODE = (".so", "/bin/")
"""What the paths of mapped programs and libraries have in them."""


def held_bytes(part: Path, shapes: Path, threads: int = 1) -> int | None:
    """The most that a process needs more while it loads and runs a part (see above); None where the system does not
    tell. `shapes`: the network without weights, for its inputs. The part was run here before, so that it is in the
    cache: optimising it takes more. Raises BadInput where the part does not run."""
    if not os.access(_PEAK, os.W_OK) or not os.access(_MAPS, os.R_OK):
        return None
    paths = os.pathsep.join(path for path in sys.path if path)
    line = [sys.executable, "-m", "isthmus.engine.footprint", str(part), str(shapes), str(threads)]
    done = subprocess.run(line, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": paths})
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it ended"])[-1]
        raise BadInput(f"{part} does not run in a process of its own: {last[:200]}")
    return int(json.loads(done.stdout)["held_bytes"])


def measured(load: Callable[[], Callable[[], object]], inputs: Mapping[str, Array], *, part: bool = True) -> int:
    """Bytes that this process needs more at most while `load()` makes what runs and that runs on `inputs`, theirs
    among them (see above). To be called once in a process, with little else in it."""
    warm_up(part=part)
    _code_kilobytes()
    gc.collect()
    give_back()
    before = _kilobytes("VmRSS") - _code_kilobytes()
    peaks = []
    _PEAK.write_text("5")  # forgets the greatest size so far
    run = load()
    peaks.append(_kilobytes("VmHWM") - _code_kilobytes())
    for _ in range(_RUNS):
        _PEAK.write_text("5")
        run()
        peaks.append(_kilobytes("VmHWM") - _code_kilobytes())
    return max(0, max(peaks) - before) * 1024 + sum(values.nbytes for values in inputs.values())


def _measure(part: Path, shapes: Path, threads: int) -> int:
    model = model_from_proto(onnx.load(shapes, load_external_data=False), "part", copy=False)
    inputs = model.random_inputs(1)

    def load() -> Callable[[], object]:
        ready = ready_part(part, default_folder(), threads)
        return lambda: ready.run(inputs)

    return measured(load, inputs)


def warm_up(*, part: bool) -> None:
    """A network of one node: what comes with the runtime is there from here on."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 8]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "one", ends[:1], ends[1:])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    model = model_from_proto(proto, "one", copy=False)
    made = model.proto.SerializeToString()
    if part:
        session = finished_session(made, default_folder(), 1, prepack=True, in_order=True)
    else:
        session = plain_session(made, default_folder(), 1)
    session.run(None, model.random_inputs(1))


def _code_kilobytes() -> int:
    """Resident pages of programs and libraries that are as they are in their files."""
    total, counting = 0, False
    with _MAPS.open() as lines:
        for line in lines:
            words = line.split()
            if "-" in words[0] and not words[0].endswith(":"):
                counting = any(mark in words[-1] for mark in _CODE)
            elif counting and words[0] == "Rss:":
                total += int(words[1])
            elif counting and words[0] == "Anonymous:":
                total -= int(words[1])
    return total


def _kilobytes(name: str) -> int:
    line = next(row for row in _STATUS.read_text().splitlines() if row.startswith(f"{name}:"))
    return int(line.split()[1])


if __name__ == "__main__":
    file, network, count = sys.argv[1:]
    sys.stdout.write(json.dumps({"held_bytes": _measure(Path(file), Path(network), int(count))}))

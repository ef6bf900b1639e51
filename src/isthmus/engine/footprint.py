"""How much memory a part of few bits takes in the process that runs it, by Linux's count.

Measured in a process of its own, for memory that was given back is not always returned to the system. What Python and
onnxruntime take without any network is not counted; what its kernels need besides weights and tensors is: integer
kernels keep a layer's sums in 32 bits.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from isthmus.engine.few_bits import ready_part
from isthmus.engine.sessions import plain_session
from isthmus.engine.store import default_folder
from isthmus.errors import BadInput
from isthmus.model.onnx_file import model_from_proto

_STATUS, _PEAK = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RUNS = 3


def held_bytes(part: Path, shapes: Path, threads: int = 1) -> int | None:
    """The most that a process needs more while it runs a part than before it was loaded; None where the system does
    not tell. `shapes`: the network without weights, for its inputs. The part was run here before, so that it is in the
    cache: optimising it takes more. Raises BadInput where the part does not run."""
    if not os.access(_PEAK, os.W_OK):
        return None
    paths = os.pathsep.join(path for path in sys.path if path)
    line = [sys.executable, "-m", "isthmus.engine.footprint", str(part), str(shapes), str(threads)]
    done = subprocess.run(line, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": paths})
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it ended"])[-1]
        raise BadInput(f"{part} does not run in a process of its own: {last[:200]}")
    return int(json.loads(done.stdout)["held_bytes"])


def _measure(part: Path, shapes: Path, threads: int) -> int:
    """What this process needs more at most, once loading is over."""
    model = model_from_proto(onnx.load(shapes, load_external_data=False), "part", copy=False)
    inputs = model.random_inputs(1)
    _warm_up()
    gc.collect()
    before = _kilobytes("VmRSS")
    ready = ready_part(part, default_folder(), threads)
    gc.collect()
    _PEAK.write_text("5")  # forgets the greatest size so far
    for _ in range(_RUNS):
        ready.run(inputs)
    return max(0, _kilobytes("VmHWM") - before) * 1024


def _warm_up() -> None:
    """A network of one node: what comes with the runtime is there from here on."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 8]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "one", ends[:1], ends[1:])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    model = model_from_proto(proto, "one", copy=False)
    session = plain_session(model.proto.SerializeToString(), default_folder(), 1)
    session.run(None, model.random_inputs(1))


def _kilobytes(name: str) -> int:
    line = next(row for row in _STATUS.read_text().splitlines() if row.startswith(f"{name}:"))
    return int(line.split()[1])


if __name__ == "__main__":
    file, network, count = sys.argv[1:]
    sys.stdout.write(json.dumps({"held_bytes": _measure(Path(file), Path(network), int(count))}))

"""Measures what every layer of every zoo network reads, and writes `src/isthmus/model/zoo/statistics.json`.

Each network is written layer by layer; before a layer's weights are made, the layers so far are run on two
standard-normal inputs and the mean and standard deviation of what the new layer will read are noted. Names given as
arguments are measured anew, the others kept; no names mean all. Takes some minutes for the large ones.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper

from isthmus.model.types import IR_VERSION, OPSET
from isthmus.model.zoo import SEEDED
from isthmus.model.zoo.builder import Act, Net
from isthmus.model.zoo.statistics import FILE, Spread

_KEPT_BYTES = 3 << 30
"""Activations kept while running, the oldest go first: a detector reads far back."""


class Runner:
    """Runs a growing network, only the nodes that are new."""

    def __init__(self) -> None:
        self.values: dict[str, NDArray[np.float32]] = {}
        self.done = 0
        self.found: list[float] = []

    def spread(self, net: Net, x: Act) -> Spread:
        """Stands in for `Net.spread`: measures instead of looking up."""
        if not self.values:
            rng = np.random.default_rng(1)
            self.values[x.name] = rng.standard_normal((2, *x.shape), dtype=np.float32)
            measured = Spread(0.0, 1.0)
        else:
            self._catch_up(net)
            value = self.values[x.name]
            measured = Spread(float(f"{value.mean(dtype=np.float64):.4g}"), float(f"{value.std(dtype=np.float64):.4g}"))
        self.found += measured
        return measured

    def _catch_up(self, net: Net) -> None:
        new = list(net.graph.node[self.done :])
        self.done += len(new)
        made = {n.output[0] for n in new}
        read = {name for n in new for name in n.input if name} - made
        weights = [t for t in net.graph.initializer if t.name in read]
        feeds = {name: self.values[name] for name in read - {t.name for t in weights}}
        inputs = [helper.make_tensor_value_info(k, TensorProto.FLOAT, v.shape) for k, v in feeds.items()]
        outputs = [onnx.ValueInfoProto(name=n.output[0]) for n in new]
        graph = helper.make_graph(new, "new", inputs, outputs, weights)
        model = helper.make_model(graph, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)])
        session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        names = [o.name for o in outputs]
        self.values.update(zip(names, session.run(names, feeds), strict=True))
        spare = sum(v.nbytes for v in self.values.values()) - _KEPT_BYTES
        for name in list(self.values):
            if spare <= 0:
                break
            spare -= self.values.pop(name).nbytes


def measure(name: str) -> list[float]:
    """Mean, standard deviation, mean, … of the inputs of the layers of `name`."""
    runner = Runner()
    looked_up = Net.spread
    Net.spread = lambda net, x: runner.spread(net, x)  # type: ignore[method-assign,assignment]
    try:
        SEEDED[name]()
    finally:
        Net.spread = looked_up  # type: ignore[method-assign]
    return runner.found


def main() -> None:
    stored: dict[str, list[float]] = json.loads(FILE.read_text()) if FILE.exists() else {}
    for name in sys.argv[1:] or SEEDED:
        stored[name] = measure(name)
        print(f"{name}: {len(stored[name]) // 2} layers", flush=True)
    lines = (f"{json.dumps(name)}: {json.dumps(stored[name], separators=(',', ':'))}" for name in sorted(stored))
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()

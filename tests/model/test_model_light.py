"""Light models with weights put in: run, and answer differently to different inputs."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from isthmus.model import load_model


@pytest.mark.parametrize("name", ["squeezenet", "shufflenet", "inception_v1", "resnet50"])
def test_the_answer_depends_on_the_input(name: str) -> None:
    model = load_model(f"light:{name}")
    proto = model.proto
    logits = [n.output[0] for n in proto.graph.node if n.op_type in ("Conv", "Gemm")][-1]
    if logits not in {o.name for o in proto.graph.output}:
        proto.graph.output.append(onnx.ValueInfoProto(name=logits))
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    first, second = (session.run([logits], model.random_inputs(1, seed=s))[0].ravel() for s in (0, 1))
    assert np.isfinite(first).all()
    assert 0.01 < first.std() < 300
    assert np.abs(first - second).max() > 0.02 * np.abs(first).max()


def test_seeds_differ() -> None:
    prints = {load_model("light:shufflenet", seed=s).fingerprint for s in (0, 0, 1)}
    assert len(prints) == 2

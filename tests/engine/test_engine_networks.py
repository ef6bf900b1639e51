"""The claim of the package on every network that runs in seconds: tail(head(x)) is whole(x) at every narrow cut, and at
a sample of the cuts where several tensors cross. Slow: some minutes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from isthmus.engine import Engine
from isthmus.graph import INPUT, OUTPUT, narrow_cuts, prefix_cuts
from isthmus.model import light_models, load_model, zoo_names

LARGEST = ("zoo:vgg16", "light:vgg19", "zoo:yolov3", "zoo:yolov3_spp", "zoo:fasterrcnn_resnet50_fpn")
"""Quarters of a second a run and more, or half a gigabyte: a few cuts each."""
UNCOMMON = ("_b4", "_b5", "_b6", "_b7", "_v2_m", "_v2_l")
"""Deeper and wider editions of networks that are tested; seconds a run."""
NAMES = [n for n in (*zoo_names(), *(f"light:{n}" for n in light_models())) if not n.endswith(UNCOMMON)]
SAMPLE = 4


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_head_and_tail_make_the_whole(name: str, tmp_path: Path) -> None:
    model = load_model(name)
    inputs = model.random_inputs(seed=1)
    names = [o.name for o in model.outputs]
    session = ort.InferenceSession(model.proto.SerializeToString(), providers=["CPUExecutionProvider"])
    exact = dict(zip(names, session.run(names, inputs), strict=True))
    del session
    engine = Engine.open(model, cache_dir=tmp_path, cuts="none")
    ready = [c.id for c in engine.cuts]
    narrow = [c.id for c in narrow_cuts(engine.graph) if c.id not in ready]
    wide = [c.id for c in prefix_cuts(engine.graph) if len(c.crossing) > 1]
    few = SAMPLE if name in LARGEST else len(ready)
    chosen = [*spread(ready, few), *spread(narrow, SAMPLE), *spread(wide, SAMPLE)]
    assert len(ready) >= 2
    for cut_id in chosen:
        head = engine.head(cut_id, inputs)
        crossing = {INPUT: engine.graph.inputs, OUTPUT: ()}.get(cut_id) or engine.halves(cut_id).ends.crossing
        made = {**head, **engine.tail(cut_id, {t: head[t] for t in crossing})} if cut_id != OUTPUT else head
        for output, value in exact.items():
            wanted, got = np.asarray(value, np.float64), np.asarray(made[output], np.float64)
            assert wanted.std() > 0, "the network answers the same everywhere"
            np.testing.assert_allclose(got, wanted, rtol=0, atol=5e-5 * np.abs(wanted).max(), err_msg=cut_id)


def spread(ids: list[str], count: int) -> list[str]:
    """`count` of the ids, evenly spread, both ends among them."""
    return [ids[round(i)] for i in np.linspace(0, len(ids) - 1, min(count, len(ids)))] if ids else []

"""The Open Inference Protocol: our client, an unmodified stock client in a process of its own, and bad requests."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from isthmus.engine import Engine
from isthmus.errors import BadFrame, Refused, Unreachable
from isthmus.graph import INPUT, OUTPUT
from isthmus.run import Server, infer_remote, oip_pb2, oip_service, serve
from isthmus.run.codecs import Codecs
from isthmus.run.oip_client import outputs, request
from isthmus.run.types import Arrays

STOCK = """
import sys
import numpy as np
import tritonclient.grpc as triton
address, model, cut, tensor, folder = sys.argv[1:]
client = triton.InferenceServerClient(address)
assert client.is_server_live() and client.is_server_ready() and client.is_model_ready(model)
assert not client.is_model_ready("nobody")
assert "isthmus_split" in client.get_server_metadata().extensions
meta = client.get_model_metadata(model)
def ask(name, file, **kwargs):
    array = np.load(f"{folder}/{file}.npy")
    given = triton.InferInput(name, list(array.shape), "FP32")
    given.set_data_from_numpy(array)
    wanted = [triton.InferRequestedOutput(o.name) for o in meta.outputs]
    answer = client.infer(model, [given], outputs=wanted, **kwargs)
    return answer.as_numpy(meta.outputs[0].name)
np.save(f"{folder}/whole_answer.npy", ask(meta.inputs[0].name, "whole"))
np.save(f"{folder}/tail_answer.npy", ask(tensor, "tail", parameters={"cut": cut}))
try:
    ask("nobody", "tail", parameters={"cut": cut})
except triton.InferenceServerException as e:
    assert "INVALID_ARGUMENT" in e.status(), e
else:
    raise SystemExit("a wrong tensor name was taken")
"""


def test_an_unmodified_stock_client_runs_the_whole_model_and_a_tail(
    engine: Engine, server: Server, tmp_path: Path
) -> None:
    if find_spec("tritonclient") is None:
        pytest.skip("tritonclient is not installed")
    inputs = engine.model.random_inputs()
    cut = next(c for c in engine.cuts if c.id not in (INPUT, OUTPUT))
    np.save(tmp_path / "whole.npy", next(iter(inputs.values())))
    np.save(tmp_path / "tail.npy", engine.head(cut.id, inputs)[cut.crossing[0]])
    command = [sys.executable, "-c", STOCK, server.address, engine.model.name, cut.id, cut.crossing[0], str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    expected = engine.whole(inputs)[engine.graph.outputs[0]]
    np.testing.assert_array_equal(np.load(tmp_path / "whole_answer.npy"), expected)
    assert np.allclose(np.load(tmp_path / "tail_answer.npy"), expected, atol=1e-5)


def test_our_client_runs_the_whole_and_every_tail(engine: Engine, server: Server) -> None:
    inputs = engine.model.random_inputs(2)
    expected = engine.whole(inputs)
    for cut in engine.cuts[:-1]:
        tensors = {t: engine.head(cut.id, inputs)[t] for t in cut.crossing}
        found = infer_remote(server.address, engine.model.name, tensors, parameters={"cut": cut.id})
        assert_close(found, expected)


def test_a_tail_takes_tensors_written_by_a_codec(engine: Engine, server: Server) -> None:
    inputs = engine.model.random_inputs()
    cut = next(c for c in engine.cuts if c.id not in (INPUT, OUTPUT))
    (name,) = cut.crossing
    tensor = engine.head(cut.id, inputs)[name]
    codec = Codecs().get("int8", name, "float32")
    payload = np.frombuffer(codec.dump(tensor), np.uint8)
    ask = request(engine.model.name, {name: payload}, "", {"cut": cut.id, "codec": "int8"})
    ask.inputs[0].parameters["shape"].string_param = ",".join(map(str, tensor.shape))
    with grpc.insecure_channel(server.address) as channel:
        answer = outputs(oip_pb2.ModelInferResponse.FromString(infer_call(channel)(ask.SerializeToString())))
    expected = engine.tail(cut.id, {name: codec.load(payload.data, tensor.shape, "float32")})
    assert_close(answer, expected)


def test_typed_contents_are_taken(engine: Engine, server: Server) -> None:
    inputs = engine.model.random_inputs()
    ask = request(engine.model.name, inputs, "", {})
    del ask.raw_input_contents[:]
    for tensor in ask.inputs:
        tensor.contents.fp32_contents.extend(inputs[tensor.name].ravel().tolist())
    with grpc.insecure_channel(server.address) as channel:
        answer = outputs(oip_pb2.ModelInferResponse.FromString(infer_call(channel)(ask.SerializeToString())))
    for key, array in engine.whole(inputs).items():
        np.testing.assert_array_equal(answer[key], array)


@pytest.mark.parametrize("lie", ["values", "datatype", "name"])
def test_typed_contents_are_not_expanded_for_what_is_refused(
    engine: Engine, server: Server, monkeypatch: pytest.MonkeyPatch, lie: str
) -> None:
    expanded: list[str] = []
    monkeypatch.setattr(oip_service, "typed_bytes", lambda tensor: expanded.append(tensor.name))
    ask = request(engine.model.name, engine.model.random_inputs(), "", {})
    del ask.raw_input_contents[:]
    (tensor,) = ask.inputs
    if lie == "name":
        tensor.name = "nobody"
    if lie == "datatype":
        tensor.datatype = "INT8"
        tensor.contents.int_contents.extend([1] * 1_000)
    else:
        tensor.contents.fp32_contents.extend([1.0] * 1_000_000)
    with grpc.insecure_channel(server.address) as channel, pytest.raises(grpc.RpcError) as refused:
        infer_call(channel)(ask.SerializeToString())
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert not expanded


def test_our_client_sends_either_byte_order(engine: Engine, server: Server) -> None:
    inputs = engine.model.random_inputs()
    swapped = {name: array.astype(array.dtype.newbyteorder()) for name, array in inputs.items()}
    assert_close(infer_remote(server.address, engine.model.name, swapped), engine.whole(inputs))


def assert_close(found: Arrays, expected: Arrays) -> None:
    assert set(found) == set(expected)
    for name, array in expected.items():
        assert found[name].shape == array.shape
        assert np.allclose(found[name], array, atol=1e-5)


def infer_call(channel: grpc.Channel) -> Any:
    return channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")


def test_bad_requests_are_one_sentence_and_the_server_lives(engine: Engine, server: Server) -> None:
    good = engine.model.random_inputs()
    name, array = next(iter(good.items()))
    model = engine.model.name
    bad: list[tuple[str, dict[str, np.ndarray], dict[str, str | int], str]] = [
        ("nobody", good, {}, "no model"),
        (model, {}, {}, "inputs"),
        (model, {"nobody": array}, {}, "takes the tensors"),
        (model, {name: array.astype("float64")}, {}, "must be float32"),
        (model, {name: array[..., :-1]}, {}, "must be float32"),
        (model, good, {"cut": "nowhere"}, "no tensor"),
        (model, good, {"cut": OUTPUT}, "nothing is left"),
        (model, good, {"cut": 3}, "must be a string"),
        (model, good, {"codec": "int8"}, "shape"),
        (model, {name: np.concatenate([array] * 5)}, {}, "batch"),
    ]
    for which, inputs, parameters, says in bad:
        with pytest.raises(Refused, match=says):
            infer_remote(server.address, which, inputs, parameters=parameters)
    assert infer_remote(server.address, model, good)


def test_contents_that_lie_about_their_size_are_refused(engine: Engine, server: Server) -> None:
    ask = request(engine.model.name, engine.model.random_inputs(), "", {})
    ask.raw_input_contents[0] = ask.raw_input_contents[0][:-1]
    missing = request(engine.model.name, engine.model.random_inputs(), "", {})
    missing.raw_input_contents.append(b"")
    with grpc.insecure_channel(server.address) as channel:
        caller = infer_call(channel)
        for lie in (ask, missing):
            with pytest.raises(grpc.RpcError) as caught:
                caller(lie.SerializeToString())
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_refusals_and_failures_are_counted_and_nothing_foreign_gets_out(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    good, name = engine.model.random_inputs(), engine.model.name
    with serve(engine) as server, grpc.insecure_channel(server.address) as channel:
        for which, parameters in (("nobody", {}), (name, {"cut": "nowhere"})):
            with pytest.raises(Refused):
                infer_remote(server.address, which, good, parameters=parameters)
        with pytest.raises(grpc.RpcError) as caught:
            infer_call(channel)(b"\xff" * 100)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert server.counts == {"refused": 3}
        assert infer_remote(server.address, name, good)

        def broken(*_: object) -> None:
            raise ZeroDivisionError("a secret of the server")

        monkeypatch.setattr("isthmus.run.desk.Desk.run", broken)
        with pytest.raises(grpc.RpcError) as caught:
            infer_call(channel)(request(name, good, "", {}).SerializeToString())
        assert caught.value.code() is grpc.StatusCode.INTERNAL
        assert caught.value.details() == "the server failed on this request: ZeroDivisionError"
        assert server.counts == {"refused": 3, "requests": 1, "failed": 1}
    assert [r.message for r in caplog.records] == ["a ModelInferRequest failed"]


def test_health_is_the_standard_one(engine: Engine, server: Server) -> None:
    with grpc.insecure_channel(server.address) as channel:
        check: Any = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=lambda m: m.SerializeToString(),
            response_deserializer=oip_pb2.HealthCheckResponse.FromString,
        )
        assert check(oip_pb2.HealthCheckRequest()).status == oip_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError, match="NOT_FOUND"):
            check(oip_pb2.HealthCheckRequest(service="nobody"))


def test_no_server_is_unreachable(engine: Engine) -> None:
    with serve(engine) as gone:
        address = gone.address
    with pytest.raises(Unreachable):
        infer_remote(address, "tiny", engine.model.random_inputs(), timeout_s=5)


def test_an_answer_that_lies_is_not_believed() -> None:
    answer = oip_pb2.ModelInferResponse(raw_output_contents=[b"12345"])
    answer.outputs.add(name="y", datatype="FP32", shape=[1, 10**12])
    with pytest.raises(BadFrame):
        outputs(answer)

"""Asking any server that speaks the Open Inference Protocol: ours, Triton or KServe with an exported tail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc

from isthmus.codec.raw import Raw
from isthmus.errors import BadFrame, BadInput
from isthmus.run import forked
from isthmus.run import oip_pb2 as oip
from isthmus.run.oip_service import SERVICE
from isthmus.run.options import client_options, translated
from isthmus.run.tensors import DATATYPES, raw_array
from isthmus.run.types import Array, Arrays, Bounds


class OipClient:
    """A channel to one server; a context manager. Calls block, and may come from several threads."""

    def __init__(self, address: str, *, message_bytes: int = Bounds().message_bytes) -> None:
        self.address, self._forks = address, forked.forks
        self._channel = grpc.insecure_channel(address, options=client_options(message_bytes))
        self._infer: Any = self._channel.unary_unary(f"/{SERVICE}/ModelInfer")

    def infer(
        self,
        model: str,
        inputs: Arrays,
        *,
        version: str = "",
        parameters: Mapping[str, str | int | float | bool] | None = None,
        timeout_s: float = 10.0,
    ) -> dict[str, Array]:
        """The server's outputs by name. Raises BadInput for a dtype the protocol lacks and in a fork, Refused,
        Unreachable, Late, or BadFrame for an answer that lies about its sizes."""
        if self._forks != forked.forks:
            raise forked.refusal("client")
        message = request(model, inputs, version, parameters or {}).SerializeToString()
        try:
            answer = self._infer(message, timeout=timeout_s)
        except grpc.RpcError as e:
            raise translated(e, self.address) from e
        return outputs(oip.ModelInferResponse.FromString(answer))

    def close(self) -> None:
        """Closes the channel; in a fork it does nothing."""
        if self._forks == forked.forks:
            self._channel.close()

    def __enter__(self) -> OipClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def infer_remote(
    address: str,
    model: str,
    inputs: Arrays,
    *,
    version: str = "",
    parameters: Mapping[str, str | int | float | bool] | None = None,
    timeout_s: float = 10.0,
) -> dict[str, Array]:
    """One call over a channel of its own; see `OipClient.infer`."""
    with OipClient(address) as client:
        return client.infer(model, inputs, version=version, parameters=parameters, timeout_s=timeout_s)


def request(
    model: str, inputs: Arrays, version: str, parameters: Mapping[str, str | int | float | bool]
) -> oip.ModelInferRequest:
    """The protocol's message, with raw contents."""
    made = oip.ModelInferRequest(model_name=model, model_version=version)
    for name, array in inputs.items():
        if array.dtype.name not in DATATYPES:
            raise BadInput(f"{name} is {array.dtype.name}, which the Open Inference Protocol does not know")
        made.inputs.add(name=name, datatype=DATATYPES[array.dtype.name], shape=array.shape)
        made.raw_input_contents.append(bytes(Raw().dump(array)))
    for key, value in parameters.items():
        if isinstance(value, bool):
            made.parameters[key].bool_param = value
        elif isinstance(value, int):
            made.parameters[key].int64_param = value
        elif isinstance(value, float):
            made.parameters[key].double_param = value
        else:
            made.parameters[key].string_param = value
    return made


def outputs(answer: oip.ModelInferResponse) -> dict[str, Array]:
    """The arrays of an answer with raw contents. Raises BadFrame when it has others."""
    contents = list(answer.raw_output_contents)
    if len(contents) != len(answer.outputs):
        raise BadFrame(f"{len(answer.outputs)} outputs came with {len(contents)} raw contents")
    return {
        o.name: raw_array(content, o.datatype, tuple(o.shape))
        for o, content in zip(answer.outputs, contents, strict=True)
    }

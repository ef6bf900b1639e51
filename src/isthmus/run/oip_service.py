"""The Open Inference Protocol (KServe v2) and the standard health question, for clients that are not ours.

The whole model is `<name>`; a tail is the same model with its cut in the request's parameters (`cut`, `exit`
where it is not run to its end, `codec` where the tensors are not raw), so an unmodified `tritonclient` runs either.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from isthmus.codec import RAW
from isthmus.errors import BadFrame, IsthmusError, Missing, Refused
from isthmus.graph import INPUT
from isthmus.run import oip_pb2 as oip
from isthmus.run.codecs import raw_heads
from isthmus.run.desk import Desk, Done
from isthmus.run.heads import Head
from isthmus.run.places import Place, place_of
from isthmus.run.tensors import DATATYPES, described, parameter, typed_bytes, typed_size
from isthmus.version import __version__

SERVICE = "inference.GRPCInferenceService"
HEALTH = "grpc.health.v1.Health"
_VERSION = "1"
_log = logging.getLogger(__name__)
_Ask = TypeVar("_Ask", bound=Message)


class _Absent(Refused):
    """There is no such model or service here."""


class OipService:
    """Liveness, readiness, metadata and inference of one model."""

    def __init__(self, desk: Desk, name: str, ready: Callable[[], bool], clock: Callable[[], float]) -> None:
        self._desk, self._name, self._ready, self._clock = desk, name, ready, clock

    def handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        """What is registered with grpc, under the protocol's own service names."""
        methods = {
            "ServerLive": self._unary(oip.ServerLiveRequest, lambda _: oip.ServerLiveResponse(live=True)),
            "ServerReady": self._unary(oip.ServerReadyRequest, lambda _: oip.ServerReadyResponse(ready=self._ready())),
            "ModelReady": self._unary(oip.ModelReadyRequest, self._model_ready),
            "ServerMetadata": self._unary(oip.ServerMetadataRequest, self._server_metadata),
            "ModelMetadata": self._unary(oip.ModelMetadataRequest, self._model_metadata),
            "ModelInfer": self._unary(oip.ModelInferRequest, self._model_infer),
        }
        health = {"Check": self._unary(oip.HealthCheckRequest, self._health)}
        return (
            grpc.method_handlers_generic_handler(SERVICE, methods),
            grpc.method_handlers_generic_handler(HEALTH, health),
        )

    def _health(self, ask: oip.HealthCheckRequest) -> oip.HealthCheckResponse:
        if ask.service not in ("", SERVICE, self._name):
            raise _Absent(f"there is no service '{ask.service[:80]}' here")
        return oip.HealthCheckResponse(status="SERVING" if self._ready() else "NOT_SERVING")

    def _model_ready(self, ask: oip.ModelReadyRequest) -> oip.ModelReadyResponse:
        ours = ask.name == self._name and ask.version in ("", _VERSION)
        return oip.ModelReadyResponse(ready=ours and self._ready())

    def _server_metadata(self, ask: object) -> oip.ServerMetadataResponse:
        return oip.ServerMetadataResponse(name="isthmus", version=__version__, extensions=["isthmus_split"])

    def _model_metadata(self, ask: oip.ModelMetadataRequest) -> oip.ModelMetadataResponse:
        self._need(ask.name, ask.version)
        model = self._desk.places.halves.engine.model

        def shown(signatures: Any) -> list[oip.ModelMetadataResponse.TensorMetadata]:
            kind = oip.ModelMetadataResponse.TensorMetadata
            return [
                kind(name=s.name, datatype=DATATYPES[s.dtype], shape=[-1 if d is None else d for d in s.shape])
                for s in signatures
            ]

        return oip.ModelMetadataResponse(
            name=self._name,
            versions=[_VERSION],
            platform="isthmus_onnx",
            inputs=shown(model.inputs),
            outputs=shown(model.outputs),
        )

    def _model_infer(self, ask: oip.ModelInferRequest) -> oip.ModelInferResponse:
        self._need(ask.model_name, ask.model_version)
        place = Place(parameter(ask.parameters, "cut") or INPUT, parameter(ask.parameters, "exit")).id
        heads, payload = self._inputs(ask, place)
        if place_of(place).back:
            raise Refused("the part before a cut is run for clients of isthmus only, not over this protocol")
        wanted = [o.name for o in ask.outputs]
        unknown = set(wanted) - set(self._desk.places.outputs(place))
        if unknown:
            raise Refused(f"this cut has no output '{min(unknown)[:80]}'")
        done = self._desk.run(place, heads, memoryview(payload), self._clock())
        return self._response(ask, done, wanted)

    def _inputs(self, ask: oip.ModelInferRequest, place: str) -> tuple[list[Head], bytes]:
        """Heads and joined payload in the order the cut wants, checked against the model."""
        contents = list(ask.raw_input_contents)  # every access to the field copies it
        if contents and len(contents) != len(ask.inputs):
            raise BadFrame(f"{len(ask.inputs)} inputs came with {len(contents)} raw contents")
        sizes = [len(part) for part in contents] if contents else [typed_size(t) for t in ask.inputs]
        codec = parameter(ask.parameters, "codec") or RAW
        heads = {
            t.name: (described(t, size, parameter(t.parameters, "codec") or codec), at)
            for at, (t, size) in enumerate(zip(ask.inputs, sizes, strict=True))
        }
        if not heads or len(heads) != len(ask.inputs):
            raise Refused(f"{len(ask.inputs)} inputs came, {len(heads)} of them of different names")
        batch = self._desk.places.halves.batch_told({name: h.shape for name, (h, _) in heads.items()})
        order = [t.name for t in self._desk.expected(place, batch)]
        picked = [heads[name] for name in order if name in heads]
        if len(picked) != len(heads):
            raise Refused(f"this cut takes the tensors {', '.join(order)}, not {', '.join(heads)[:200]}")
        self._desk.check(place, batch, [h for h, _ in picked], sum(h.payload_bytes for h, _ in picked))
        parts = [contents[at] if contents else typed_bytes(ask.inputs[at]) for _, at in picked]
        return [h for h, _ in picked], parts[0] if len(parts) == 1 else b"".join(parts)

    def _response(self, ask: oip.ModelInferRequest, done: Done, wanted: list[str]) -> oip.ModelInferResponse:
        made, queue_s, decode_s, compute_s, _ = done
        outputs = {name: made[name] for name in wanted} if wanted else made
        heads, parts = raw_heads(outputs)
        response = oip.ModelInferResponse(
            model_name=self._name,
            model_version=_VERSION,
            id=ask.id,
            outputs=[
                oip.ModelInferResponse.InferOutputTensor(name=h.name, datatype=DATATYPES[h.dtype], shape=h.shape)
                for h in heads
            ],
            raw_output_contents=[bytes(p) for p in parts],
        )
        for name, seconds in (("queue_s", queue_s), ("decode_s", decode_s), ("compute_s", compute_s)):
            response.parameters[name].double_param = seconds
        return response

    def _need(self, name: str, version: str) -> None:
        if name != self._name or version not in ("", _VERSION):
            asked = f"'{name[:80]}'" + (f" of version '{version[:16]}'" if version else "")
            raise _Absent(f"there is no model {asked} here, only {self._name} {_VERSION}")

    def _unary(self, kind: type[_Ask], answer: Callable[[Any], Message]) -> Any:
        """One method, bytes in and out: whatever goes wrong becomes a status here and is counted, and nothing foreign
        gets out."""

        def guarded(content: bytes, context: grpc.ServicerContext) -> bytes:
            try:
                return answer(kind.FromString(content)).SerializeToString()
            except (IsthmusError, DecodeError) as e:
                self._desk.count("refused")
                code, says = _refused(e)
            except Exception as e:  # noqa: BLE001 - what an engine raises is its own, and no client's business
                _log.exception("a %s failed", kind.DESCRIPTOR.name)
                self._desk.count("failed")
                code, says = grpc.StatusCode.INTERNAL, f"the server failed on this request: {type(e).__name__}"
            context.abort(code, says)
            raise AssertionError("abort raises")

        return grpc.unary_unary_rpc_method_handler(guarded)


def _refused(error: Exception) -> tuple[grpc.StatusCode, str]:
    """The status of a refusal, and its one sentence."""
    if isinstance(error, DecodeError):
        return grpc.StatusCode.INVALID_ARGUMENT, "the bytes of this request are no such message"
    if isinstance(error, Missing):  # an extra that is not installed here: not the client's mistake
        return grpc.StatusCode.FAILED_PRECONDITION, str(error)[:500]
    code = grpc.StatusCode.NOT_FOUND if isinstance(error, _Absent) else grpc.StatusCode.INVALID_ARGUMENT
    return code, str(error)[:500]

# ruff: noqa
# fmt: off
# mypy: ignore-errors
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Hello(_message.Message):
    __slots__ = ("protocol", "model", "fingerprint", "clips", "exits")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    CLIPS_FIELD_NUMBER: _ClassVar[int]
    EXITS_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    model: str
    fingerprint: str
    clips: str
    exits: str
    def __init__(self, protocol: _Optional[int] = ..., model: _Optional[str] = ..., fingerprint: _Optional[str] = ..., clips: _Optional[str] = ..., exits: _Optional[str] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("protocol", "model", "fingerprint", "clips", "cuts", "max_batch", "max_bytes", "exits", "heads", "max_body")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    CLIPS_FIELD_NUMBER: _ClassVar[int]
    CUTS_FIELD_NUMBER: _ClassVar[int]
    MAX_BATCH_FIELD_NUMBER: _ClassVar[int]
    MAX_BYTES_FIELD_NUMBER: _ClassVar[int]
    EXITS_FIELD_NUMBER: _ClassVar[int]
    HEADS_FIELD_NUMBER: _ClassVar[int]
    MAX_BODY_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    model: str
    fingerprint: str
    clips: str
    cuts: _containers.RepeatedScalarFieldContainer[str]
    max_batch: int
    max_bytes: int
    exits: str
    heads: bool
    max_body: int
    def __init__(self, protocol: _Optional[int] = ..., model: _Optional[str] = ..., fingerprint: _Optional[str] = ..., clips: _Optional[str] = ..., cuts: _Optional[_Iterable[str]] = ..., max_batch: _Optional[int] = ..., max_bytes: _Optional[int] = ..., exits: _Optional[str] = ..., heads: _Optional[bool] = ..., max_body: _Optional[int] = ...) -> None: ...

class TensorHead(_message.Message):
    __slots__ = ("name", "dtype", "shape", "codec", "payload_bytes")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    CODEC_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_BYTES_FIELD_NUMBER: _ClassVar[int]
    name: str
    dtype: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    codec: str
    payload_bytes: int
    def __init__(self, name: _Optional[str] = ..., dtype: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., codec: _Optional[str] = ..., payload_bytes: _Optional[int] = ...) -> None: ...

class Ask(_message.Message):
    __slots__ = ("cut", "batch", "total_bytes", "tensors")
    CUT_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    TENSORS_FIELD_NUMBER: _ClassVar[int]
    cut: str
    batch: int
    total_bytes: int
    tensors: _containers.RepeatedCompositeFieldContainer[TensorHead]
    def __init__(self, cut: _Optional[str] = ..., batch: _Optional[int] = ..., total_bytes: _Optional[int] = ..., tensors: _Optional[_Iterable[_Union[TensorHead, _Mapping]]] = ...) -> None: ...

class Probe(_message.Message):
    __slots__ = ("total_bytes",)
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    total_bytes: int
    def __init__(self, total_bytes: _Optional[int] = ...) -> None: ...

class Arrival(_message.Message):
    __slots__ = ("bytes_after_first", "seconds", "bytes")
    BYTES_AFTER_FIRST_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    bytes_after_first: int
    seconds: float
    bytes: int
    def __init__(self, bytes_after_first: _Optional[int] = ..., seconds: _Optional[float] = ..., bytes: _Optional[int] = ...) -> None: ...

class Outputs(_message.Message):
    __slots__ = ("tensors",)
    TENSORS_FIELD_NUMBER: _ClassVar[int]
    tensors: _containers.RepeatedCompositeFieldContainer[TensorHead]
    def __init__(self, tensors: _Optional[_Iterable[_Union[TensorHead, _Mapping]]] = ...) -> None: ...

class Refusal(_message.Message):
    __slots__ = ("reason", "passing")
    REASON_FIELD_NUMBER: _ClassVar[int]
    PASSING_FIELD_NUMBER: _ClassVar[int]
    reason: str
    passing: bool
    def __init__(self, reason: _Optional[str] = ..., passing: _Optional[bool] = ...) -> None: ...

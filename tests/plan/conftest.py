"""Makes the planner tests independent of the codec folder's landing."""

from __future__ import annotations

import math

import pytest

from isthmus.plan import cost


class FakeCodec:
    def __init__(self, name: str) -> None:
        self.name = name

    def payload_bytes(self, shape: tuple[int, ...], itemsize: int) -> int:
        bits = {"float32": 32, "float16": 16, "int8": 8, "int4": 4}[self.name]
        return math.ceil(math.prod(shape) * bits / 8) + (0 if self.name.startswith("f") else 8)


@pytest.fixture(autouse=True)
def codecs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "codec_named", FakeCodec)

"""The file of measured losses: what `plan --data --losses FILE` writes as it goes and reads again."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, NonNegativeFloat, PositiveInt, RootModel

from isthmus.errors import BadInput
from isthmus.files import read_json
from isthmus.quant import Distortions

_Share = Annotated[FiniteFloat, Field(ge=-1, le=1)]


class Losses(RootModel[dict[str, _Share]]):
    """Accuracy lost, in shares of 1, by the name of a solution: as somebody wrote it down."""

    @property
    def shares(self) -> dict[str, float]:
        """Losses by name."""
        return self.root

    @property
    def give_or_take(self) -> dict[str, float]:
        """Nobody said."""
        return {}

    @property
    def sample_bytes(self) -> dict[tuple[str, str], float]:
        """None is known."""
        return {}

    @property
    def agreed(self) -> frozenset[str]:
        """None is said to be a disagreement."""
        return frozenset()


class LossRow(BaseModel):
    """One solution. `samples` below those of the file: it was given up there, and loses about so much. `cut`, `codec`
    and `sample_bytes`: what it sent, where that depends on what is written."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    loss: _Share
    give_or_take: NonNegativeFloat
    samples: PositiveInt
    cut: str = ""
    codec: str = ""
    sample_bytes: NonNegativeFloat | None = None


class MeasuredLosses(BaseModel):
    """Losses of quantised heads of one network by the name of the solution, all on the same samples and from the same
    distortion tables (`inputs`, `tables`: digests of the samples with their labels, and of the tables; older files have
    none of the samples). `score`: right answers of the whole network. Without labels (`labelled`), losses are shares of
    answers that are not the whole network's."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    kind: Literal["isthmus-losses"] = "isthmus-losses"
    version: Literal[1] = 1
    model: str
    fingerprint: str
    tables: str
    data: str
    samples: PositiveInt
    inputs: str = ""
    labelled: bool
    score: float
    rows: dict[str, LossRow] = Field(default_factory=dict)

    @property
    def shares(self) -> dict[str, float]:
        """Losses by name."""
        return {name: row.loss for name, row in self.rows.items()}

    @property
    def give_or_take(self) -> dict[str, float]:
        """Their standard errors."""
        return {name: row.give_or_take for name, row in self.rows.items()}

    @property
    def sample_bytes(self) -> dict[tuple[str, str], float]:
        """(cut, codec) → bytes of a sample."""
        return {(r.cut, r.codec): r.sample_bytes for r in self.rows.values() if r.sample_bytes is not None}

    @property
    def agreed(self) -> frozenset[str]:
        """Names whose loss is a disagreement with the whole network."""
        return frozenset() if self.labelled else frozenset(self.rows)


class _Any(RootModel[dict[str, Any]]):
    """Whatever object stands in a file."""


def read_losses(path: Path, tables: Distortions | None) -> MeasuredLosses | Losses:
    """Either kind of file. Raises BadInput for what is neither, and for losses of another network or of widths that
    were chosen from other tables."""
    if "kind" not in read_json(path, _Any).root:
        return read_json(path, Losses)
    found = read_json(path, MeasuredLosses)
    if tables is not None and (found.fingerprint, found.tables) != (tables.fingerprint, digest(tables)):
        other = "tables" if found.fingerprint == tables.fingerprint else "network"
        raise BadInput(
            f"{path} holds losses of {found.model}, measured with other {other} than these; give --losses another file"
        )
    return found


def digest(tables: Distortions) -> str:
    """Says which tables losses were measured with: widths and ranges come from them."""
    return hashlib.sha256(tables.model_dump_json().encode()).hexdigest()[:16]

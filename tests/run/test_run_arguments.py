"""What a session and a server cannot be made with is refused in one sentence."""

from __future__ import annotations

from typing import Any

import pytest
from run_rig import Told

from isthmus.engine import Engine
from isthmus.errors import BadInput
from isthmus.graph import INPUT
from isthmus.run import Server, connect_engine, serve


@pytest.mark.parametrize("deadline_s", [0.0, -1.0, float("nan"), float("inf"), None, "2s"])
def test_a_deadline_that_cannot_be_kept_is_refused(engine: Engine, server: Server, deadline_s: Any) -> None:
    with pytest.raises(BadInput, match="deadline"):
        connect_engine(engine, server.address, chooser=Told(INPUT), deadline_s=deadline_s)


def test_an_unknown_mode_is_refused(engine: Engine, server: Server) -> None:
    with pytest.raises(BadInput, match="prefer_on_device"):
        connect_engine(engine, server.address, chooser=Told(INPUT), mode="sometimes")  # type: ignore[arg-type]


def test_what_is_no_chooser_and_no_journal_is_refused(engine: Engine, server: Server) -> None:
    wrong: Any = "mincut"
    with pytest.raises(
        BadInput, match="this is a str, which is no chooser: it has no choose, observe, probe_bytes, be"
    ):
        connect_engine(engine, server.address, chooser=wrong)
    with pytest.raises(BadInput, match=r"a journal is .*, not 'mincut'$"):
        connect_engine(engine, server.address, chooser=Told(INPUT), journal=wrong)


def test_a_batch_that_is_no_whole_number_is_refused(engine: Engine, server: Server) -> None:
    with connect_engine(engine, server.address, chooser=Told(INPUT)) as session:
        for size in (2.5, "8", None):
            wrong: Any = size
            with pytest.raises(BadInput, match=f"a batch holds 1 to 65536 samples, not {size!r}$"):
                session.batched(wrong)


def test_a_port_in_use_is_one_sentence(engine: Engine, server: Server) -> None:
    with pytest.raises(BadInput, match=f"port {server.port}.*in use"):
        serve(engine, port=server.port)


@pytest.mark.parametrize(
    ("host", "port"),
    [("127.0.0.1", 70_000), ("127.0.0.1", -1), ("127.0.0.1", "8001"), ("127.0.0.1", 0.5), ("192.0.2.1", 0)],
)
def test_a_place_that_cannot_be_served_is_refused(engine: Engine, host: str, port: Any) -> None:
    with pytest.raises(BadInput, match="port"):
        serve(engine, host=host, port=port)

"""Addresses that can never be right are refused at once; those that may be are tried."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus.adapt import always_device
from isthmus.engine import Engine
from isthmus.errors import BadInput, Unreachable
from isthmus.link.address import host_and_port
from isthmus.run import connect_engine, probe, serve
from isthmus.run.sockets import connected
from isthmus.run.way import place_of

NEVER = ("127.0.0.1:70000", "127.0.0.1:-1", "127.0.0.1:0", "a..b:1", "[::1:1", "localhost", "", ":1", "a b:1", "a\0:1",
         "http://127.0.0.1:8001", "https://localhost:8001/v1", "grpc://a:1", "127.0.0.1:8001/", "a/b:1", "/", "dns:",
         "//a:1")  # fmt: skip


@pytest.mark.parametrize("address", NEVER)
def test_what_can_never_be_an_address_is_refused(engine: Engine, address: str) -> None:
    with pytest.raises(BadInput, match="is no address; write host:port"):
        connect_engine(engine, address, chooser=always_device())
    with pytest.raises(BadInput, match="is no address; write host:port"):
        probe(address)


def test_what_is_no_text_is_no_address(engine: Engine) -> None:
    address: Any
    for address in (None, ("127.0.0.1", 8001), b"a:1"):
        with pytest.raises(BadInput, match=r"an address is text, as '127.0.0.1:8001', not"):
            connect_engine(engine, address, chooser=always_device())


def test_both_families_and_names_are_addresses() -> None:
    assert host_and_port("[::1]:8001") == ("::1", 8001)
    assert host_and_port("::1:8001") == ("::1", 8001)
    assert host_and_port("bücher.example:65535") == ("bücher.example", 65535)


def test_targets_that_grpc_knows_are_left_to_it() -> None:
    schemes = (
        "dns:///a:1",
        "DNS:a:1",
        "unix:/tmp/x",
        "unix-abstract:x",
        "ipv4:127.0.0.1:1",
        "ipv6:[::1]:1",
        "vsock:2:1",
    )
    for target in schemes:
        assert place_of(target) is None
    assert place_of("unix:8001") == ("unix", 8001), "a host may be called so"


def test_an_address_where_nobody_answers_is_no_bad_one() -> None:
    with pytest.raises(Unreachable):
        probe("127.0.0.1:1")


def test_a_host_whose_name_cannot_be_is_said_so(engine: Engine) -> None:
    for host in ("a..b", "a" * 64):
        with pytest.raises(BadInput, match=r"cannot serve on port 0 of .* is no name of a host"):
            serve(engine, host=host)
        with pytest.raises(OSError, match="is no name of a host"):
            connected(host, 1, 1.0)

"""How grpc is set on either side, and what its errors mean in ours."""

from __future__ import annotations

from typing import Any

import grpc

from isthmus.errors import Late, Refused, Remote, Unreachable

Options = list[tuple[str, int]]
_SPARE_BYTES = 1 << 20
"""Above the bound on payloads: headers and framing."""
_HANDSHAKE_MS = 20_000
"""Until a client has said what HTTP/2 begins with."""
_IDLE_MS = 60_000
"""A connection without a call, as long: its client makes another with the next call."""


def _common(message_bytes: int) -> Options:
    return [
        ("grpc.max_receive_message_length", message_bytes + _SPARE_BYTES),
        ("grpc.max_send_message_length", message_bytes + _SPARE_BYTES),
        # Whole payloads fit the stream's window: no wait for window updates, no bandwidth-delay pings.
        ("grpc.http2.lookahead_bytes", 8 << 20),
        ("grpc.http2.bdp_probe", 0),
    ]


def server_options(message_bytes: int) -> Options:
    """A port belongs to one server (so_reuseport off), and clients may ask every half second whether it lives."""
    return [
        *_common(message_bytes),
        ("grpc.so_reuseport", 0),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 500),
        ("grpc.http2.max_ping_strikes", 0),
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.server_handshake_timeout_ms", _HANDSHAKE_MS),
        ("grpc.max_connection_idle_ms", _IDLE_MS),
    ]


def client_options(message_bytes: int) -> Options:
    """Each connection of its own, quick to notice a dead server and to try again."""
    return [
        *_common(message_bytes),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_http_proxy", 0),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 1_000),
        ("grpc.max_reconnect_backoff_ms", 1_000),
        ("grpc.keepalive_time_ms", 2_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    ]


def translated(error: Any, address: str) -> Remote:
    """A grpc error (which is a call as well, mostly) as one of ours."""
    code = error.code() if isinstance(error, grpc.Call) else None
    details = (error.details() or "") if isinstance(error, grpc.Call) else str(error)
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return Refused(f"{address} answers, but is not an isthmus server")
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return Late(f"{address} did not answer in time")
    if code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.RESOURCE_EXHAUSTED):
        return Refused(f"{address} refused: {details}")
    if code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.FAILED_PRECONDITION):
        return Refused(f"{address} failed: {details}")
    return Unreachable(f"{address} cannot be reached: {details.splitlines()[0][:200] if details else 'no answer'}")

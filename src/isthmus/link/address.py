"""Addresses as people type them: `host:port`."""

from __future__ import annotations

from isthmus.errors import BadInput

MOST_PORT = 65_535


def host_and_port(address: str) -> tuple[str, int]:
    """The two parts; brackets around an IPv6 address are taken off. Raises BadInput for what can never be an address.

    >>> host_and_port("[::1]:8001")
    ('::1', 8001)
    """
    if not isinstance(address, str):
        raise BadInput(f"an address is text, as '127.0.0.1:8001', not {address!r}")
    host, _, port = address.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) <= MOST_PORT and _is_host(bare)):
        raise BadInput(f"'{address[:80]}' is no address; write host:port, as in 127.0.0.1:8001 or [::1]:8001")
    return bare, int(port)


def _is_host(name: str) -> bool:
    """May this be looked up? Whether it is found is another matter."""
    try:
        name.encode("idna")
    except UnicodeError:  # an empty label, or one that is too long
        return False
    return name != "" and name.isprintable() and not set(name) & set(" []/")

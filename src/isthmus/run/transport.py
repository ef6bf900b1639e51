"""How frames get from the client to the server and back: the one seam of the client to the outside."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import grpc

from isthmus.errors import Unreachable
from isthmus.run.ear import Ear
from isthmus.run.frame import Parts
from isthmus.run.options import client_options, translated
from isthmus.run.sockets import MAGIC, Message, Octets, Room, be_patient, connected, send, send_now, send_rest, tune
from isthmus.run.types import STREAM_METHOD

OFFER_S = 0.002
"""A peer on a fast link reads while it is written to: a wait of 0.1 ms for room costs less than a copy of the rest and
another thread to send it, which half the requests of 0.4 MB and more needed on the loopback. On a slow link the kernel
holds 10 ms of data by then."""


class Transport(Protocol):
    """Carries messages both ways until it is closed or breaks."""

    @property
    def address(self) -> str:
        """Of the server, for messages to people."""

    def watch(self, coming: Callable[[int], None], room: Callable[[], Room | None]) -> None:
        """`coming(n)` is called when the first n bytes of a message are here and the rest is not, by whoever reads and
        before he delivers it, and `room()` before he waits, for memory that the next message may fill; never, where a
        transport cannot tell."""

    def talk(self, outgoing: Iterator[Parts], needed: Callable[[], bool]) -> Iterator[Message]:
        """Sends what `outgoing` yields, from a thread of its own, and yields what comes, as memory that nobody else has
        and that may be written to. Raises Remote or BadFrame when it breaks. Called once. `needed()`: whether somebody
        waits for a message who cannot listen himself."""

    def offer(self, whole: Sequence[Octets]) -> bool | None:
        """Takes messages, `framed`, from the caller's thread while `outgoing` yields nothing, and waits no longer than
        `OFFER_S`. True: they are gone. False: the rest of them goes before the next message of `outgoing`, an empty one
        if need be, and nothing may be offered until then. None: this transport takes no offers."""

    def attend(self, change: int) -> None:
        """One thread more (+1) or less (-1) means to listen soon."""

    def listen(self, hear: Callable[[Message], None], heard: Callable[[], bool], timeout_s: float) -> None:
        """Hands what comes to `hear` in the caller's thread, in place of `talk`, until `heard()` or the time is up.
        Returns at once where another thread listens or this transport has no such thing. Raises as `talk` does."""

    def close(self) -> None:
        """Ends the talk; may be called from any thread, and twice."""


class GrpcTransport:
    """A bidirectional gRPC stream: where something on the way lets only HTTP/2 pass."""

    def __init__(self, address: str, message_bytes: int) -> None:
        self.address = address
        self._channel = grpc.insecure_channel(address, options=client_options(message_bytes))
        self._stream: Any = self._channel.stream_stream(STREAM_METHOD, response_deserializer=_writable)

    def watch(self, coming: Callable[[int], None], room: Callable[[], Room | None]) -> None:
        """See `Transport`: grpc hands over whole messages."""

    def talk(self, outgoing: Iterator[Parts], needed: Callable[[], bool]) -> Iterator[Message]:
        """See `Transport`."""
        try:
            yield from self._stream(b"".join(parts) for parts in outgoing)
        except (grpc.RpcError, ValueError) as e:  # a ValueError: the channel was closed before it began
            raise translated(e, self.address) from e

    def offer(self, whole: Sequence[Octets]) -> bool | None:
        """See `Transport`: grpc sends from a thread of its own."""
        return None

    def attend(self, change: int) -> None:
        """See `Transport`: grpc listens in threads of its own."""

    def listen(self, hear: Callable[[Message], None], heard: Callable[[], bool], timeout_s: float) -> None:
        """See `Transport`."""

    def close(self) -> None:
        """See `Transport`."""
        self._channel.close()


def _writable(message: bytes) -> memoryview:
    """A copy: grpc makes several, and no other way to memory that may be written to."""
    return memoryview(bytearray(message))


class TcpTransport:
    """A bare TCP socket. Raises Unreachable when it cannot be opened within `timeout_s`."""

    def __init__(self, host: str, port: int, message_bytes: int, timeout_s: float) -> None:
        self.address = f"{host}:{port}"
        self._rest = memoryview(b"")
        try:
            with contextlib.ExitStack() as undo:
                self._socket = undo.enter_context(connected(host, port, timeout_s))
                self._socket.sendall(MAGIC)
                tune(self._socket)
                be_patient(self._socket, OFFER_S, socket.SO_SNDTIMEO)
                self._ear = Ear(self._socket, message_bytes, lambda: False)
                undo.pop_all()
        except OSError as e:
            raise Unreachable(f"{self.address} cannot be reached: {e}") from e

    def watch(self, coming: Callable[[int], None], room: Callable[[], Room | None]) -> None:
        """See `Transport`."""
        self._ear.watch(coming, room)

    def talk(self, outgoing: Iterator[Parts], needed: Callable[[], bool]) -> Iterator[Message]:
        """See `Transport`."""
        self._ear.needed = needed
        threading.Thread(target=self._send, args=(outgoing,), daemon=True, name="isthmus-send").start()
        try:
            yield from self._ear.stand()
        except OSError as e:
            raise Unreachable(f"{self.address} broke off: {e}") from e
        finally:
            self.close()
            with self._ear.last():  # nobody may wait on a socket whose number another one may get
                self._socket.close()

    @property
    def behind(self) -> bool:
        """Whether a message that was offered is not wholly sent yet."""
        return bool(self._rest)

    def offer(self, whole: Sequence[Octets]) -> bool | None:
        """See `Transport`."""
        try:
            self._rest = send_now(self._socket, whole)
        except OSError:
            self.close()
        return not self._rest

    def attend(self, change: int) -> None:
        """See `Transport`."""
        self._ear.attend(change)

    def listen(self, hear: Callable[[Message], None], heard: Callable[[], bool], timeout_s: float) -> None:
        """See `Transport`."""
        if not self._ear.take_turn():
            return
        end, left_s = time.monotonic() + timeout_s, timeout_s
        try:
            while not heard() and (message := self._ear.hear(left_s)) is not None:
                hear(message)
                left_s = end - time.monotonic()
                if left_s <= 0:  # a server that never pauses keeps nobody
                    return
        except EOFError:
            raise Unreachable(f"{self.address} ended the stream") from None
        except OSError as e:
            raise Unreachable(f"{self.address} broke off: {e}") from e
        finally:
            self._ear.leave()

    def close(self) -> None:
        """See `Transport`."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._ear.end()

    def _send(self, outgoing: Iterator[Parts]) -> None:
        try:
            for message in outgoing:
                if self._rest:
                    send_rest(self._socket, self._rest)
                    self._rest = memoryview(b"")
                if message:
                    send(self._socket, *message)
        except OSError:
            self.close()  # whoever reads will say what happened

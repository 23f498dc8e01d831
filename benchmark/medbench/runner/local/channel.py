"""Messages between processes, as safetensors in pieces. Nothing is pickled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from numpy.typing import NDArray

from medbench.store.arrays import parts, read_parts

#: Bytes of a single write; longer parts are sent in pieces.
_PIECE = 64 * 1024**2


@dataclass(frozen=True)
class Message:
    """A kind, values (see :mod:`medbench.store.arrays`) and arrays by name."""

    kind: str
    values: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)


class Channel:
    """Sends and receives messages over a pipe.

    Parameters
    ----------
    connection : multiprocessing.connection.Connection
        One end of a duplex pipe.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def send(self, message: Message) -> None:
        """Send a message; its arrays are not copied.

        Raises
        ------
        BrokenPipeError
            If the other side is gone.
        UnstorableError
            If the message holds something that cannot be sent.
        """
        content = [message.kind, dict(message.values), dict(message.arrays)]
        for part in parts(content, message.kind):
            for start in range(0, len(part), _PIECE):
                self.connection.send_bytes(part[start : start + _PIECE])

    def receive(self) -> Message:
        """Wait for a message.

        Raises
        ------
        EOFError
            If the other side is gone.
        """
        return Message(*read_parts(self._fill))

    def _fill(self, buffer: memoryview) -> None:
        for start in range(0, len(buffer), _PIECE):
            self.connection.recv_bytes_into(buffer[start : start + _PIECE])

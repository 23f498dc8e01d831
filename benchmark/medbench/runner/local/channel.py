"""Messages between processes, as safetensors in pieces. Nothing is pickled.

An array that is a whole mapped file goes as the file's open read-only descriptor, which the
receiver maps in turn: its pages are in memory once for all processes.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle, send_handle
from typing import Any

import numpy as np
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
        """Send a message; its arrays are not copied, mapped files not even sent.

        Raises
        ------
        BrokenPipeError
            If the other side is gone.
        UnstorableError
            If the message holds something that cannot be sent.
        """
        opened = {}
        for name, array in message.arrays.items():
            if (file := _file_of(array)) is not None:
                with suppress(OSError):  # it is removed: its content is sent
                    opened[name] = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._send(message, opened)
        finally:
            for descriptor in opened.values():
                os.close(descriptor)

    def _send(self, message: Message, opened: Mapping[str, int]) -> None:
        arrays = {name: a for name, a in message.arrays.items() if name not in opened}
        shapes = {name: list(message.arrays[name].shape) for name in opened}
        content = [message.kind, dict(message.values), arrays, shapes]
        for part in parts(content, message.kind):
            for start in range(0, len(part), _PIECE):
                self.connection.send_bytes(part[start : start + _PIECE])
        for descriptor in opened.values():
            send_handle(self.connection, descriptor, None)

    def receive(self) -> Message:
        """Wait for a message.

        Raises
        ------
        EOFError
            If the other side is gone.
        """
        kind, values, arrays, shapes = read_parts(self._fill)
        for name, shape in shapes.items():
            with os.fdopen(recv_handle(self.connection), "rb") as file:
                arrays[name] = np.asarray(np.memmap(file, np.uint8, "r", shape=tuple(shape)))
        return Message(kind, values, arrays)

    def _fill(self, buffer: memoryview) -> None:
        for start in range(0, len(buffer), _PIECE):
            self.connection.recv_bytes_into(buffer[start : start + _PIECE])


def _file_of(array: NDArray[Any]) -> str | None:
    """Return the file that an array of ``Pixels`` maps whole; None of a part or a copy."""
    mapped: object = array.base
    if not isinstance(mapped, np.memmap) or mapped.shape != array.shape:
        return None
    base: object = mapped.base
    return mapped.filename if isinstance(base, mmap.mmap) and mapped.offset == 0 else None

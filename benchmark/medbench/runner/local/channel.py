"""Messages between processes: a JSON header and raw arrays. Nothing is pickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Bytes a single write may carry; larger arrays go in pieces.
_PIECE = 64 * 1024**2


@dataclass(frozen=True)
class Message:
    """A kind, plain JSON values and arrays by name."""

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
        """Send a message.

        Raises
        ------
        BrokenPipeError
            If the other side is gone.
        """
        # not np.ascontiguousarray, which gives a number without axes one
        arrays = {name: np.asarray(array, order="C") for name, array in message.arrays.items()}
        shapes = [[name, array.dtype.str, array.shape] for name, array in arrays.items()]
        self.connection.send_bytes(json.dumps([message.kind, message.values, shapes]).encode())
        for array in arrays.values():
            content = memoryview(array.reshape(-1).view(np.uint8).data)
            for start in range(0, len(content), _PIECE):
                self.connection.send_bytes(content[start : start + _PIECE])

    def receive(self) -> Message:
        """Wait for a message.

        Raises
        ------
        EOFError
            If the other side is gone.
        """
        kind, values, shapes = json.loads(self.connection.recv_bytes())
        arrays = {}
        for name, dtype, shape in shapes:
            array = np.empty(shape, np.dtype(dtype))
            content = memoryview(array.reshape(-1).view(np.uint8).data)
            for start in range(0, len(content), _PIECE):
                self.connection.recv_bytes_into(content[start : start + _PIECE])
            arrays[name] = array
        return Message(kind, values, arrays)

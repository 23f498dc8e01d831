"""Messages between processes: what is sent is what is received."""

from __future__ import annotations

import threading
from multiprocessing import Pipe
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from medbench.runner.local import channel
from medbench.runner.local.channel import Channel, Message
from medbench.store.arrays import UnstorableError
from medbench.store.pixels import Pixels

DTYPES = st.one_of(
    npst.scalar_dtypes(), npst.unicode_string_dtypes(max_len=5), npst.byte_string_dtypes(max_len=5)
)
ARRAYS = DTYPES.flatmap(
    lambda dtype: npst.arrays(dtype, npst.array_shapes(min_dims=0, max_dims=4, min_side=0))
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def passed(*messages: Message) -> list[Message]:
    """Send messages from a thread, since a pipe holds little, and receive them here."""
    here, there = Pipe()
    try:
        sender = threading.Thread(target=lambda: [Channel(there).send(m) for m in messages])
        sender.start()
        received = [Channel(here).receive() for _ in messages]
        sender.join()
        assert not here.poll(), "something was left in the pipe"
        return received
    finally:
        here.close()
        there.close()


def assert_equal(received: Message, sent: Message) -> None:
    assert received.kind == sent.kind
    assert received.values == sent.values
    assert received.arrays.keys() == sent.arrays.keys()
    for name, array in sent.arrays.items():
        got = received.arrays[name]
        assert got.dtype == array.dtype
        assert got.shape == array.shape
        assert got.tobytes() == array.tobytes(), "not bit for bit, NaNs and signs of 0 included"


@settings(deadline=None)
@given(
    st.lists(
        st.builds(
            Message,
            st.text(),
            st.dictionaries(st.text(), VALUES, max_size=3),
            st.dictionaries(st.text(), ARRAYS, max_size=3),
        ),
        min_size=1,
        max_size=3,
    )
)
def test_a_row_of_messages_arrives_as_it_was_sent(messages: list[Message]) -> None:
    for received, sent in zip(passed(*messages), messages, strict=True):
        assert_equal(received, sent)


@pytest.mark.parametrize(
    "array",
    [
        pytest.param(np.array(3.5), id="no axes"),
        pytest.param(np.zeros((0, 3), np.float32), id="empty"),
        pytest.param(np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1), id="not contiguous"),
        pytest.param(np.arange(10)[::-2], id="backwards"),
        pytest.param(np.array([1.0, -0.0, np.nan, np.inf], ">f8"), id="big-endian"),
        pytest.param(np.broadcast_to(np.uint8(7), (3, 5)), id="read-only"),
        pytest.param(np.array(["ä", "日本", ""]), id="texts"),
    ],
)
def test_unusual_arrays(array: np.ndarray) -> None:
    message = Message("array", {}, {"it": array})
    assert_equal(passed(message)[0], message)


@pytest.mark.parametrize("size", [999, 1000, 1001, 30_000])
def test_arrays_larger_than_a_piece(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "_PIECE", 1000)
    rng = np.random.default_rng(size)
    message = Message("big", {}, {"one": rng.integers(0, 256, size, np.uint8), "two": np.ones(3)})
    assert_equal(passed(message)[0], message)


def test_an_array_of_many_pieces() -> None:
    size = channel._PIECE + 12_345
    big = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    message = Message("big", {}, {"it": big})
    assert_equal(passed(message)[0], message)


def test_received_arrays_can_be_written_to() -> None:
    (received,) = passed(Message("array", {}, {"it": np.zeros(3)}))
    received.arrays["it"][0] = 1


def test_objects_are_refused_not_sent_as_addresses() -> None:
    here, there = Pipe()
    with pytest.raises(UnstorableError, match=r"array.*it is an array of object"):
        Channel(there).send(Message("array", {}, {"it": np.array([object()])}))
    here.close()
    there.close()


def test_the_other_side_gone() -> None:
    here, there = Pipe()
    there.close()
    with pytest.raises(EOFError):
        Channel(here).receive()
    with pytest.raises(BrokenPipeError):
        Channel(here).send(Message("hello"))
    here.close()


def mapped(folder: Path, kept: bool = True) -> np.ndarray:
    values = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    array = Pixels(folder).get("it", values.shape[1:], lambda: iter([values]))
    if not kept:
        Pixels(folder).drop()
    return array


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("part", [slice(None), slice(1, None)])
def test_mapped_files_arrive_whole_in_part_or_removed(tmp_path: Path, kept, part) -> None:
    array = mapped(tmp_path / "pixels", kept)
    sent = array if part == slice(None) else array[part]
    message = Message("files", {"a": 1}, {"it": sent, "other": np.ones(3), "again": sent})
    (received,) = passed(message)
    assert_equal(received, message)
    assert {type(array) for array in received.arrays.values()} == {np.ndarray}


def test_a_mapped_file_is_not_copied(tmp_path: Path) -> None:
    (received,) = passed(Message("files", {}, {"it": mapped(tmp_path / "pixels")}))
    (file,) = (tmp_path / "pixels").iterdir()
    with file.open("r+b") as opened:
        opened.write(b"\x63")
    assert received.arrays["it"][0, 0, 0] == 0x63
    with pytest.raises(ValueError, match="read-only"):
        received.arrays["it"][0] = 0

"""Pixels are kept for others, and never believed without a look."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from medbench.store.pixels import Pixels

SHAPE = (3, 4, 4, 1)


class Source:
    """Counts how often it is read."""

    def __init__(self, value: int = 7) -> None:
        self.value, self.reads = value, 0

    def read(self) -> Iterator[np.ndarray]:
        self.reads += 1
        for _ in range(SHAPE[0]):
            yield np.full((1, *SHAPE[1:]), self.value, np.uint8)


def test_is_read_once_for_all(tmp_path: Path) -> None:
    source = Source()
    for _ in range(3):
        found = Pixels(tmp_path / "pixels").get(["a", 32], SHAPE[1:], source.read)
        assert found.dtype == np.uint8
        assert np.array_equal(found, np.full(SHAPE, 7))
        with pytest.raises(ValueError, match="read-only"):
            found[:] = 0
    assert source.reads == 1


def test_another_source_has_other_pixels(tmp_path: Path) -> None:
    kept = Pixels(tmp_path)
    assert kept.get(["a", 32], SHAPE[1:], Source(1).read)[0, 0, 0, 0] == 1
    assert kept.get(["a", 64], SHAPE[1:], Source(2).read)[0, 0, 0, 0] == 2
    assert kept.get(["a", 32], SHAPE[1:], Source(3).read)[0, 0, 0, 0] == 1


@pytest.mark.parametrize("place", [0, 40, -1])
def test_an_altered_byte_means_reading_again(tmp_path: Path, place: int) -> None:
    kept, source = Pixels(tmp_path), Source()
    kept.get("a", SHAPE[1:], source.read)
    (file,) = tmp_path.iterdir()
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)
    assert np.array_equal(kept.get("a", SHAPE[1:], source.read), np.full(SHAPE, 7))
    assert source.reads == 2


def test_a_file_is_checked_once_and_again_when_it_has_changed(tmp_path: Path) -> None:
    kept, source = Pixels(tmp_path), Source()
    for _ in range(2):  # written, then checked
        kept.get("a", SHAPE[1:], source.read)
    (file,), (note,) = tmp_path.glob("*.uint8"), tmp_path.glob("*.checked")
    content = bytearray(file.read_bytes())
    content[0] = 9
    file.write_bytes(content)
    found = file.stat()
    note.write_text(f"{found.st_size} {found.st_ctime_ns} {found.st_ino}")
    # a note on this very state is believed: nothing is read
    assert kept.get("a", SHAPE[1:], source.read)[0, 0, 0, 0] == 9
    assert source.reads == 1
    file.touch()
    assert np.array_equal(kept.get("a", SHAPE[1:], source.read), np.full(SHAPE, 7))
    assert source.reads == 2


@pytest.mark.parametrize("content", [b"", b"short", bytes(200)])
def test_a_torn_file_means_reading_again(tmp_path: Path, content: bytes) -> None:
    kept, source = Pixels(tmp_path), Source()
    kept.get("a", SHAPE[1:], source.read)
    (file,) = tmp_path.iterdir()
    file.write_bytes(content)
    assert np.array_equal(kept.get("a", SHAPE[1:], source.read), np.full(SHAPE, 7))


def test_a_folder_that_cannot_be_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    source = Source()
    assert Pixels(tmp_path / "file").get("a", SHAPE[1:], source.read).shape == SHAPE


def test_all_who_ask_map_one_file(tmp_path: Path) -> None:
    kept = Pixels(tmp_path)
    first, second = (kept.get("a", SHAPE[1:], Source().read) for _ in range(2))
    (file,) = tmp_path.glob("*.uint8")
    with file.open("r+b") as opened:  # as nobody does: shows that both are the file
        opened.write(b"\x09")
    assert first[0, 0, 0, 0] == second[0, 0, 0, 0] == 9


def test_those_who_mapped_it_keep_it(tmp_path: Path) -> None:
    kept = Pixels(tmp_path / "pixels")
    found = kept.get("a", SHAPE[1:], Source().read)
    kept.drop()
    assert np.array_equal(found, np.full(SHAPE, 7))


def test_is_gone_when_dropped(tmp_path: Path) -> None:
    kept = Pixels(tmp_path / "pixels")
    kept.get("a", SHAPE[1:], Source().read)
    kept.drop()
    kept.drop()
    assert not (tmp_path / "pixels").exists()


#: Reads for as long as the file "slow" is there, and leaves one file for each reading.
READER = """
import sys, time, uuid
from pathlib import Path
import numpy as np
from medbench.store.pixels import Pixels

folder = Path(sys.argv[1])

def read():
    (folder / f"read-{uuid.uuid4()}").touch()
    yield np.zeros((1, 4, 4, 1), np.uint8)
    while (folder / "slow").exists():
        time.sleep(0.01)
    yield np.ones((2, 4, 4, 1), np.uint8)

print("asks", flush=True)
found = Pixels(folder / "pixels").get("a", (4, 4, 1), read)
print(found.shape, int(found.sum()), flush=True)
"""


def reader(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", READER, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "asks\n"
    return process


def wait_for(folder: Path, readings: int) -> None:
    for _ in range(1000):
        if len(list(folder.glob("read-*"))) == readings:
            return
        time.sleep(0.01)
    raise AssertionError("nobody reads")


def test_one_reads_while_others_wait_for_its_file(tmp_path: Path) -> None:
    (tmp_path / "slow").touch()
    readers = [reader(tmp_path) for _ in range(3)]
    wait_for(tmp_path, 1)
    time.sleep(0.3)  # a second one would have begun by now
    (tmp_path / "slow").unlink()
    assert [each.communicate(timeout=20)[0] for each in readers] == ["(3, 4, 4, 1) 32\n"] * 3
    assert len(list(tmp_path.glob("read-*"))) == 1
    assert len(list((tmp_path / "pixels").glob("*.uint8"))) == 1
    assert not list((tmp_path / "pixels").glob("*.lock"))


def test_nobody_waits_for_a_reader_that_died(tmp_path: Path) -> None:
    (tmp_path / "slow").touch()
    first = reader(tmp_path)
    wait_for(tmp_path, 1)
    second = reader(tmp_path)
    first.kill()
    first.communicate()
    wait_for(tmp_path, 2)
    (tmp_path / "slow").unlink()
    assert second.communicate(timeout=20)[0] == "(3, 4, 4, 1) 32\n"


def test_without_locks_all_read_and_one_file_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError("No locks available")

    monkeypatch.setattr("fcntl.lockf", no_locks)
    assert np.array_equal(Pixels(tmp_path).get("a", SHAPE[1:], Source().read), np.full(SHAPE, 7))

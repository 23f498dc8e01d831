"""Checkpoints on disk: damaged ones are found out, and the one before is always there."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from medbench.errors import RecordError
from medbench.store.arrays import dumps, loads
from medbench.store.checkpoints import Checkpoint, Checkpoints

KEY = "ab" * 32


def checkpoint(epoch: int, key: str = KEY, size: int = 100) -> Checkpoint:
    return Checkpoint(
        key=key,
        epoch=epoch,
        made_by={"libraries": {"torch": "2.11"}},
        sources={"Method": "ef" * 32},
        seconds=1.5,
        evaluator={"epochs": [np.arange(epoch)]},
        training=dumps({"weights": np.full(size, epoch, np.float32)}),
    )


@pytest.fixture
def kept(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "checkpoints" / "ab", KEY)


def epochs(kept: Checkpoints) -> list[int]:
    return [kept.read(path).epoch for path in kept.paths()]


def test_the_newest_and_the_one_before_are_kept(kept: Checkpoints) -> None:
    for epoch in (1, 2, 10, 11):
        kept.write(checkpoint(epoch))
        newest = kept.read(kept.paths()[0])
        assert newest.epoch == epoch
        assert loads(newest.training)["weights"].tolist() == [epoch] * 100
        assert newest.evaluator["epochs"][0].tolist() == list(range(epoch))
        assert newest.sources == {"Method": "ef" * 32}
        assert (newest.seconds, newest.made_by) == (1.5, {"libraries": {"torch": "2.11"}})
    assert epochs(kept) == [11, 10]
    assert len(list(kept.folder.iterdir())) == 2, "nothing else is left"


def test_every_flipped_byte_is_found_out(kept: Checkpoints) -> None:
    kept.write(checkpoint(3))
    (path,) = kept.paths()
    whole = path.read_bytes()
    for place in range(0, len(whole), 97):
        spoilt = bytearray(whole)
        spoilt[place] ^= 1
        path.write_bytes(spoilt)
        with pytest.raises(RecordError, match="damaged"):
            kept.read(path)
    path.write_bytes(whole)
    assert kept.read(path).epoch == 3


@pytest.mark.parametrize("length", [0, 1, 1000, -1])
def test_a_truncated_checkpoint_is_found_out(kept: Checkpoints, length: int) -> None:
    kept.write(checkpoint(3))
    (path,) = kept.paths()
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(RecordError, match="damaged"):
        kept.read(path)


def test_a_checkpoint_of_another_key_is_refused(kept: Checkpoints) -> None:
    kept.write(checkpoint(3))
    (path,) = kept.paths()
    other = path.rename(path.with_name(path.name.replace(KEY, "cd" * 32)))
    with pytest.raises(RecordError, match="another key"):
        Checkpoints(kept.folder, "cd" * 32).read(other)


def test_others_checkpoints_are_left_alone(kept: Checkpoints) -> None:
    other = Checkpoints(kept.folder, "abcd" * 16)
    other.write(checkpoint(1, "abcd" * 16))
    kept.write(checkpoint(1))
    kept.remove()
    assert kept.paths() == []
    assert epochs(other) == [1]


def test_stale_ones_of_later_epochs_go_when_an_earlier_is_taken_up(kept: Checkpoints) -> None:
    for epoch in (4, 5):
        kept.write(checkpoint(epoch))
    newest, before = kept.paths()
    newest.write_bytes(b"spoilt")
    assert kept.read(before).epoch == 4
    kept.write(checkpoint(5))
    assert epochs(kept) == [5, 4]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB, where one may be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip("mounting needs the right to; the suite of a container has it")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs")
def test_a_full_disk_leaves_the_checkpoints_before(small_disk: Path) -> None:
    kept = Checkpoints(small_disk / "ab", KEY)
    kept.write(checkpoint(1))
    kept.write(checkpoint(2))
    before = {path.name: path.read_bytes() for path in kept.folder.iterdir()}
    with pytest.raises(OSError) as caught:
        kept.write(checkpoint(3, size=100_000))
    assert caught.value.errno == errno.ENOSPC
    assert {path.name: path.read_bytes() for path in kept.folder.iterdir()} == before
    kept.write(checkpoint(3))
    assert epochs(kept) == [3, 2], "and once there is room, it continues"


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Nothing can be written below; to root that is only so on a disk mounted like that."""
    if os.geteuid() != 0:
        folder.chmod(0o500)
        yield
        folder.chmod(0o700)
        return
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    yield
    subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs")
def test_a_read_only_folder_is_an_ordinary_error(small_disk: Path) -> None:
    kept = Checkpoints(small_disk, KEY)
    kept.write(checkpoint(1))
    with read_only(small_disk):
        with pytest.raises(OSError) as caught:
            kept.write(checkpoint(2))
        assert caught.value.errno in (errno.EROFS, errno.EACCES)
        assert epochs(kept) == [1]

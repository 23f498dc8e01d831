"""Disks that are full or read-only, made for a test: honest ones where we may, else the next best.

Mounting needs a superuser. Where there is none, a limit on the size of files replaces
the full disk (writing fails in the same place, with another word), and missing
permissions for the read-only one. A superuser without the right to mount gives up the
capability that lets him write everywhere.
"""

from __future__ import annotations

import ctypes
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

#: Prepares the process of a command before it starts.
Prepare = Callable[[], None]

_PR_CAPBSET_DROP, _CAP_DAC_OVERRIDE = 24, 1


@cache
def can_mount() -> bool:
    """Whether this process may mount a file system in memory."""
    with tempfile.TemporaryDirectory() as folder:
        mounted = sys.platform == "linux" and _mount(Path(folder), "-o", "size=64k")
        if mounted:
            _umount(Path(folder))
    return mounted


def ways() -> list[str]:
    """Return how disks are made here: both ways where both are possible."""
    return ["mounted", "limited"] if can_mount() else ["limited"]


class SmallDisk:
    """A folder on which little can be written until :meth:`grow` is called."""

    def __init__(self, way: str, folder: Path, kib: int) -> None:
        self.folder = folder
        self.says = "No space left on device" if way == "mounted" else "File too large"
        self._way, self._bytes = way, kib * 1024

    @property
    def prepare(self) -> Prepare | None:
        """What a command on the disk needs."""
        if self._way == "mounted":
            return None
        limit = self._bytes
        return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    def grow(self) -> None:
        """Make room."""
        if self._way == "mounted":
            assert _mount(self.folder, "-o", "remount,size=256m")
        self._bytes = 1 << 40


@contextmanager
def small_disk(way: str, folder: Path, kib: int) -> Iterator[SmallDisk]:
    """Make a disk of that size, or of files of at most that size."""
    folder.mkdir()
    if way == "mounted":
        assert _mount(folder, "-o", f"size={kib}k")
    try:
        yield SmallDisk(way, folder, kib)
    finally:
        if way == "mounted":
            _umount(folder)


@contextmanager
def read_only(way: str, folder: Path) -> Iterator[Prepare | None]:
    """Make a folder and all in it read-only; gives what a command needs to be bound by it."""
    if way == "mounted":
        copy = folder.with_name(folder.name + "-before")
        folder.rename(copy)
        folder.mkdir()
        assert _mount(folder, "-o", "size=256m")
        shutil.copytree(copy, folder, dirs_exist_ok=True)
        assert _mount(folder, "-o", "remount,ro")
        try:
            yield None
        finally:
            _umount(folder)
        return
    everything = [folder, *folder.rglob("*")]
    modes = {path: path.stat().st_mode for path in everything}
    for path, mode in modes.items():
        path.chmod(mode & ~0o222)
    try:
        yield _give_up_writing_everywhere
    finally:
        for path, mode in modes.items():
            path.chmod(mode)


def _give_up_writing_everywhere() -> None:
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_CAPBSET_DROP, _CAP_DAC_OVERRIDE, 0, 0, 0)


def _mount(folder: Path, *options: str) -> bool:
    command = ["mount", "-t", "tmpfs", *options, "tmpfs", str(folder)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def _umount(folder: Path) -> None:
    subprocess.run(["umount", str(folder)], capture_output=True, check=True)

"""What a worker does on its node first: check it, and copy datasets to the node's own disk."""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medbench.cluster.submission import Submission, versions_here
from medbench.errors import ClusterError, MedbenchError
from medbench.store.atomic import aside


def check_node(submission: Submission) -> None:
    """Compare this node with the machine that submitted.

    Raises
    ------
    ClusterError
        If versions differ, or the results or cache folder is not there.
    """
    where = f"node {platform.node()}"
    here = versions_here()
    for name, version in submission.versions.items():
        if here.get(name) != version:
            raise ClusterError(
                f"{where} has {name} {here.get(name)}, the submission {version}; set the same "
                "environment with setup lines or command in [cluster]"
            )
    if not os.access(submission.results, os.W_OK):
        raise ClusterError(f"{where} cannot write the results folder {submission.results}")
    missing = [n for n in submission.datasets if not (Path(submission.cache) / f"{n}.h5").exists()]
    if missing:
        raise ClusterError(f"{where} does not see {missing[0]}.h5 in {submission.cache}")


def copy_datasets(submission: Submission, scratch: Path) -> list[str]:
    """Copy the submission's prepared datasets to a folder, once a node; return what was copied.

    A copy gets its name only after every array in it was compared with its SHA-256, and the
    whole with the content hash that run keys contain. All other files of the cache are linked.

    Raises
    ------
    ClusterError
        If the folder cannot be written or a copy is not what was submitted.
    """
    copied = []
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        with _alone(scratch):
            for name, content in submission.datasets.items():
                if _content(scratch / f"{name}.h5") != content:
                    _copy(Path(submission.cache) / f"{name}.h5", scratch, content)
                    copied.append(name)
            _link_others(Path(submission.cache), scratch)
    except OSError as error:
        where = f"node {platform.node()}: scratch folder {scratch}"
        raise ClusterError(f"{where} cannot be used: {error.strerror or error}") from error
    return copied


def _copy(source: Path, scratch: Path, content: str) -> None:
    from medbench.data.hdf5_reading import verify_images

    temporary = aside(scratch / source.name)
    try:
        shutil.copyfile(source, temporary)
        if verify_images(temporary).content_hash != content:
            raise ClusterError(f"{source} is not the file that was submitted; submit again")
        temporary.replace(scratch / source.name)
    finally:
        temporary.unlink(missing_ok=True)


def _content(path: Path) -> str:
    from medbench.data.hdf5_reading import read_card

    if path.is_symlink():
        path.unlink()  # was linked by a submission that did not use it
    try:
        return read_card(path).content_hash if path.exists() else ""
    except MedbenchError:
        return ""


def _link_others(cache: Path, scratch: Path) -> None:
    for path in cache.iterdir() if cache.is_dir() else ():
        target = scratch / path.name
        if not target.exists():
            target.unlink(missing_ok=True)
            target.symlink_to(path)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one worker of a node copy at a time."""
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield

"""The origin of a command: the protocol's text and the state of the code, sent to each job.

Determined once per command, since asking git takes longer than starting a small job.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from medbench.canonical import sha256
from medbench.plugins.markers import PROJECT
from medbench.protocol.read import ProtocolFile

#: Seconds that git may take; on a slow network file system the state stays unknown.
_TIMEOUT = 10.0
#: Libraries whose versions decide a run's bits.
LIBRARIES = ("torch", "torchvision", "numpy", "scipy", "scikit-learn", "h5py")


def origin(
    file: ProtocolFile, distributions: Mapping[str, str], registration: str = ""
) -> dict[str, Any]:
    """Return what all jobs of a command have in common, as plain JSON values.

    Parameters
    ----------
    file : ProtocolFile
        The protocol as it was read.
    distributions : mapping of str to str
        Distributions of the plugins in use, with their versions.
    registration : str
        Hash of the line of the results folder's registration that holds now.

    Returns
    -------
    dict
        ``registration``. ``protocol``: name, text and its SHA-256. ``distributions``:
        version by name.
        ``code``: for each distribution that is installed from a working tree of git, and
        for the working folder (``"project"``) if it is in one: commit, and whether
        anything differed from it; null where git could not tell.
    """
    code = {name: state for name in distributions if (state := _state(_working_tree(name)))}
    if project := _state(Path.cwd()):
        code["project"] = project
    return {
        "registration": registration,
        "protocol": {"name": file.protocol.name, "sha256": sha256(file.text), "text": file.text},
        "distributions": dict(distributions),
        "code": code,
    }


def plugin_distributions(entries: Any) -> dict[str, str]:
    """Return version by distribution of some registry entries, and of medbench itself."""
    found = {PROJECT: version_of(PROJECT)}
    found |= {entry.distribution: entry.version for entry in entries}
    return dict(sorted(found.items()))


@cache
def version_of(name: str) -> str:
    """Return the version of a distribution."""
    try:
        return distribution(name).version
    except PackageNotFoundError:
        return "not installed"


def _working_tree(name: str) -> Path | None:
    """Return the folder that a distribution was installed from so that edits count at once."""
    try:
        text = distribution(name).read_text("direct_url.json")
        values = json.loads(text) if text else {}
    except (PackageNotFoundError, OSError, ValueError):
        return None
    url = urlparse(str(values.get("url", "")))
    if not (values.get("dir_info") or {}).get("editable") or url.scheme != "file":
        return None
    return Path(unquote(url.path))


def _state(folder: Path | None) -> dict[str, Any] | None:
    """Return commit and dirtiness of the working tree that a folder is in, if it is in one."""
    if folder is None or (commit := _git(folder, "rev-parse", "HEAD")) is None:
        return None
    changes = _git(folder, "status", "--porcelain", "--untracked-files=normal")
    return {"commit": commit, "dirty": None if changes is None else bool(changes)}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        ended = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
            # git must not write, not even its own index
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return None
    return ended.stdout.strip() if ended.returncode == 0 else None

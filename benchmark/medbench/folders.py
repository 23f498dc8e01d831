"""Folders that are used where none is given."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

#: Folder of results folders, in the working folder.
RESULTS = Path("medbench-results")


def default_cache() -> Path:
    """Return the folder of prepared datasets.

    ``MEDBENCH_CACHE``, or the folder ``medbench`` in the user's cache folder.
    """
    if given := os.environ.get("MEDBENCH_CACHE"):
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "medbench"


def cache_words(cache: Path) -> str:
    """Return what a recommended command must say of the folder: `` --cache DIR``, or nothing."""
    usual = cache.absolute() == default_cache().absolute()
    return "" if usual else f" --cache {shlex.quote(str(cache))}"


def user_file() -> Path:
    """Return the user's file: ``MEDBENCH_CONFIG``, or ``medbench/config.toml`` in ~/.config."""
    if given := os.environ.get("MEDBENCH_CONFIG"):
        return Path(given)
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "medbench" / "config.toml"

"""The cache folder, for files that can be made again."""

from __future__ import annotations

import os
from pathlib import Path


def default_cache() -> Path:
    """Return ``MEDBENCH_CACHE``, or the folder ``medbench`` in the user's cache folder."""
    if given := os.environ.get("MEDBENCH_CACHE"):
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "medbench"

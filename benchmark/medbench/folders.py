"""Where medbench keeps what can be made again."""

from __future__ import annotations

import os
from pathlib import Path


def default_cache() -> Path:
    """Return the cache folder: ``MEDBENCH_CACHE``, or medbench's in the user's cache folder."""
    if given := os.environ.get("MEDBENCH_CACHE"):
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "medbench"

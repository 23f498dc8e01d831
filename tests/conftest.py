"""What holds for all tests."""

from __future__ import annotations

import os
import tempfile

import pytest

# what third parties announced is remembered there: tests leave nothing in the user's own folder
if "XDG_CACHE_HOME" not in os.environ:
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="medbench-tests-")


# tests start hundreds of commands, which would compile all they import, torch included, each time
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

#: Folders of tests that start commands and wait for them.
WAITING = ("tests/medbench/runner/", "tests/medbench/cli/", "tests/medbench/plugins/")


def pytest_xdist_auto_num_workers() -> int:
    """Let one process more than there are cores run tests: many wait for commands."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put tests that wait first, so that no process is left alone with them at the end.

    What takes minutes, or starts a cluster, is left out, unless it is asked for: ``-m slow``,
    ``-m cluster``.
    """
    items.sort(key=lambda item: not item.nodeid.startswith(WAITING))
    unasked = [mark for mark in ("slow", "cluster") if mark not in config.option.markexpr]
    left = [item for item in items if any(map(item.get_closest_marker, unasked))]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]

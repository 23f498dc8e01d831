"""Classes that are not in a plugin file: where their source is taken from."""

from __future__ import annotations

import linecache
from pathlib import Path
from typing import Any

import pytest

from medbench.errors import PluginError
from medbench.plugins.cells import file_of

CELL = "class Mine:\n    def start(self):\n        return 1\n"


def cell(number: int, source: str) -> type[Any]:
    """Return the class of a notebook's cell, which the kernel keeps as IPython does."""
    name = f"/tmp/ipykernel_no_such/{number}.py"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(source, name, "exec"), space)  # noqa: S102 - what a kernel does
    found = space["Mine"]
    assert isinstance(found, type)
    return found


def test_a_cell_is_written_once_and_again_only_if_it_changes(tmp_path: Path) -> None:
    path = file_of(cell(1, CELL), tmp_path / "cells")
    assert (path, path.read_text()) == (tmp_path / "cells" / "mine.py", CELL)
    before = path.stat().st_mtime_ns
    assert file_of(cell(2, CELL), tmp_path / "cells") == path
    assert path.stat().st_mtime_ns == before
    file_of(cell(3, CELL.replace("1", "2")), tmp_path / "cells")
    assert "return 2" in path.read_text()


def test_a_class_of_a_module_is_its_file(tmp_path: Path) -> None:
    from medbench_plugins.pretexts.rotation import Rotation

    found = file_of(Rotation, tmp_path)
    assert found.name == "rotation.py" and list(tmp_path.iterdir()) == []


def test_what_has_no_source_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="source of Empty is not known; put it into a file"):
        file_of(type("Empty", (), {}), tmp_path)

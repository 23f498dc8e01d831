"""The three rooms of the house: arrows point one way, and the core names no plugin."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import medbench
import medbench_leaderboard
import medbench_plugins
from medbench.plugins.kinds import KINDS
from medbench.plugins.registry import discover

ROOMS = {
    package.__name__: Path(package.__file__).parent
    for package in (medbench, medbench_plugins, medbench_leaderboard)
}


def sources(room: str) -> list[Path]:
    found = sorted(ROOMS[room].rglob("*.py"))
    assert found
    return found


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield node.module or ""


def texts(path: Path) -> Iterator[str]:
    """Yield the strings of a module's code: not its docstrings, nor bare expressions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in bare:
            yield node.value


@pytest.mark.parametrize(
    ("room", "forbidden"),
    [
        ("medbench", {"medbench_plugins", "medbench_leaderboard"}),
        ("medbench_plugins", {"medbench_leaderboard"}),
        ("medbench_leaderboard", {"medbench_plugins", "torch", "torchvision"}),
    ],
)
def test_arrows_point_one_way(room: str, forbidden: set[str]) -> None:
    for path in sources(room):
        found = {name.partition(".")[0] for name in imports(path)}
        assert not found & forbidden, f"{path} imports {found & forbidden}"


def test_the_engine_and_the_augmentations_know_neither_registry_nor_protocol() -> None:
    allowed = {
        "engine": {
            "attention",
            "augment",
            "canonical",
            "engine",
            "errors",
            "interfaces",
            "metrics",
        },
        "augment": {"augment", "interfaces"},
    }
    for folder, rooms in allowed.items():
        paths = [path for path in sources("medbench") if path.parent.name == folder]
        assert paths
        for path in paths:
            ours = [name for name in imports(path) if name.partition(".")[0] == "medbench"]
            found = {name.removeprefix("medbench").strip(".").partition(".")[0] for name in ours}
            assert found <= rooms, f"{path} imports {found - rooms}"


def test_built_in_plugins_import_what_a_third_party_may() -> None:
    """The modules named here are public: docs/plugins.md lists them."""
    public = (
        "medbench.interfaces",
        "medbench.augment",
        "medbench.data",
        "medbench.errors",
        "medbench.installing",  # what a message recommends
        "medbench.store.records",  # loggers read a finished run
        "medbench.store.results",
    )
    for path in sources("medbench_plugins"):
        for name in imports(path):
            if name.partition(".")[0] == "medbench" and name != "medbench":
                allowed = any(name == root or name.startswith(f"{root}.") for root in public)
                assert allowed, f"{path} imports {name}"


def test_the_core_does_not_name_the_other_rooms_in_strings() -> None:
    for path in sources("medbench"):
        for text in texts(path):
            assert "medbench_plugins" not in text and "medbench_leaderboard" not in text, path


def test_the_core_names_no_plugin() -> None:
    registry = discover()
    # ``local`` and the like are the core's own executors; ``none`` and ``checkpoint`` are words
    # of their own, and ``random`` a module of Python
    theirs = {
        entry.name
        for kind in KINDS
        for entry in registry.of_kind(kind)
        if not entry.plugin.target.startswith("medbench.")
    } - {"none", "random", "checkpoint"}
    assert {"dividemix", "rotation", "symmetric", "covid-qu-ex-mini", "narrow"} <= theirs
    default = "resnet18"  # the protocol's default backbone, from the paper
    for path in sources("medbench"):
        named = set(texts(path)) & theirs
        allowed = {default} if path.name == "schema.py" else set()
        assert named <= allowed, f"{path} names {named - allowed}"


@pytest.mark.parametrize(
    "module",
    [
        "medbench",
        "medbench.cli",
        "medbench.interfaces",
        "medbench.plugins.registry",
        "medbench.protocol.runs",
        "medbench.protocol.spec",
        "medbench.store.results",
        "medbench.store.weights",
        "medbench_plugins",
    ],
)
def test_what_says_it_loads_no_torch_loads_none(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_board_works_where_torch_cannot_be_imported() -> None:
    code = (
        "import sys\n"
        "class NoTorch:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] == 'torch':\n"
        "            raise ImportError('torch is not here')\n"
        "sys.meta_path.insert(0, NoTorch())\n"
        "import importlib, pathlib, medbench_leaderboard as board\n"
        "root = pathlib.Path(board.__file__).parent\n"
        "for path in sorted(root.rglob('*.py')):\n"
        "    parts = path.relative_to(root.parent).with_suffix('').parts\n"
        "    importlib.import_module('.'.join(parts).removesuffix('.__init__'))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

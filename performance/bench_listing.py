"""How long ``medbench list`` takes with thirty third parties' packages installed.

    uv run pytest performance/bench_listing.py

Each package announces three plugins from a module that imports numpy, as a careless
one does. `first` is a listing that has to ask them all, `again` any later one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HOOKS = """
import numpy
from medbench import Plugin, hookimpl

@hookimpl
def medbench_noise_models():
    target = "medbench_plugins.noise.symmetric:SymmetricExclusive"
    return [Plugin(f"noise-NUMBER-{i}", target, "A noise model", 1) for i in range(3)]
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    for number in range(30):
        (folder / f"lab_{number}.py").write_text(HOOKS.replace("NUMBER", str(number)))
        info = folder / f"lab_{number}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: lab-{number}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[medbench]\nlab{number} = lab_{number}\n")
    return folder


def listing(site: Path, cache: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "medbench", "list", "noise"],
        env={**os.environ, "PYTHONPATH": str(site), "MEDBENCH_CACHE": str(cache)},
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    )
    assert ended.stdout.count("lab-") == 90


def test_first(benchmark, site: Path, tmp_path: Path) -> None:
    benchmark.pedantic(
        listing,
        args=(site, tmp_path),
        setup=lambda: shutil.rmtree(tmp_path / "plugins", ignore_errors=True),
        rounds=3,
    )


def test_again(benchmark, site: Path, tmp_path: Path) -> None:
    listing(site, tmp_path)
    listing(site, tmp_path)  # compiled files have appeared next to the modules
    benchmark.pedantic(listing, args=(site, tmp_path), rounds=5)

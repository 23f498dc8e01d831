"""What must be quick loads little."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from commandline import Finished

HEAVY = ("torch", "torchvision", "pydantic", "h5py", "pandas", "scipy", "sklearn", "matplotlib")

PROGRAM = """
import json, sys
sys.argv = ["medbench", *sys.argv[1:]]
from medbench.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
finally:
    sys.stdout.flush()
    print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})), file=sys.stderr)
"""


def loaded(*arguments: str, cwd: Path) -> tuple[str, set[str]]:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        cwd=cwd,
        env={**os.environ, "COVERAGE_PROCESS_START": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return ended.stdout, set(json.loads(ended.stderr.splitlines()[-1]))


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        (["--help"], []),
        (["--version"], []),
        (["run", "--help"], ["pydantic", "h5py"]),
        (["leaderboard", "--help"], ["pydantic"]),
        (["list"], []),
        (["list", "methods"], []),
        (["list", "plugins", "--json"], []),
        (["run", "--all", "--dry-run"], ["pydantic", "h5py", "scipy"]),  # power of the design
    ],
    ids=" ".join,
)
def test_loads_nothing_heavy(arguments: list[str], allowed: list[str], tmp_path: Path) -> None:
    out, modules = loaded(*arguments, cwd=tmp_path)
    assert out
    assert (modules & set(HEAVY)) <= set(allowed)


@pytest.mark.parametrize(
    "arguments",
    [
        ["status", "--json"],
        ["results", "--format", "json"],
        ["leaderboard"],
        ["data", "list", "--json"],
        ["run", "--all", "--protocol", "PROTOCOL", "--device", "cpu"],
    ],
    ids=" ".join,
)
def test_reading_results_loads_no_torch(
    finished: Finished, tmp_path: Path, arguments: list[str]
) -> None:
    """A second run among them: it must end within seconds."""
    words = [str(finished.file) if word == "PROTOCOL" else word for word in arguments]
    if words[0] != "data":
        words += ["--results", str(finished.copy(tmp_path))]
    _, modules = loaded(*words, cwd=tmp_path)
    assert "torch" not in modules

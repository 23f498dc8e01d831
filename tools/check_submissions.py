"""Check the submissions that a branch adds or changes, as the workflow does.

    uv run --no-sync python tools/check_submissions.py --since origin/main --beacon COMMIT

For each: install its packages, `medbench submit --check`, repeat a drawn sample of runs, and build
the board of its protocol with all submissions that are not withdrawn. Exit status: 0, or 1 if one
is not accepted.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
SUBMISSIONS = ROOT / "submissions"


def call(*words: object) -> int:
    """Print and call a command; return its exit status."""
    print("$", *words, flush=True)
    return subprocess.run([str(word) for word in words], cwd=ROOT, check=False).returncode


def changed(since: str) -> list[Path]:
    """Return the folders of submissions that differ from a commit."""
    listed = subprocess.run(
        ["git", "diff", "--name-only", since, "--", "submissions"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    names = {Path(line).parts[1] for line in listed.splitlines() if len(Path(line).parts) > 2}
    return [SUBMISSIONS / name for name in sorted(names)]


def about(folder: Path) -> dict[str, object]:
    """Return what a submission says of itself; nothing if it cannot be read."""
    try:
        return tomllib.loads((folder / "submission.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def bundles(protocol: object) -> list[Path]:
    """Return the bundles of a protocol that are not withdrawn."""
    return [
        file.parent / "results.medbench.zip"
        for file in sorted(SUBMISSIONS.glob("*/submission.toml"))
        if (said := about(file.parent)).get("protocol") == protocol
        and said.get("status") == "submitted"
    ]


def main() -> int:
    """Check what was asked for."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("folders", nargs="*", type=Path, help="submissions; or --since")
    options.add_argument("--since", default="", help="commit to compare with")
    options.add_argument("--beacon", required=True, help="hexadecimal number that draws the runs")
    options.add_argument("--repeat", default="3", help="runs to repeat; 0 for none")
    options.add_argument("--boards", type=Path, default=Path("boards"), help="folder of boards")
    given, failed = options.parse_args(), False
    for folder in [*given.folders, *(changed(given.since) if given.since else [])]:
        said = about(folder)
        packages = said.get("packages") or []
        sources = [package["source"] for package in packages if isinstance(package, dict)]
        if sources and call("uv", "pip", "install", "--no-deps", *sources):
            failed = True
            continue
        medbench = (sys.executable, "-m", "medbench")
        failed |= bool(call(*medbench, "submit", "--check", folder))
        if said.get("status") == "withdrawn":
            continue
        bundle = folder / "results.medbench.zip"
        if given.repeat != "0":
            draw = ("--repeat", given.repeat, "--beacon", given.beacon)
            failed |= bool(call(*medbench, "verify", "--results", bundle, *draw))
        results = [word for path in bundles(said.get("protocol")) for word in ("--results", path)]
        if results:
            out = given.boards / str(said["protocol"])
            failed |= bool(call(*medbench, "leaderboard", *results, "--out", out))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

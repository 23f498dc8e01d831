"""Put the board of a results folder, or of a bundle, on the documentation site.

    uv run --no-sync python tools/publish_board.py medbench-results/quick
    uv run --no-sync python tools/publish_board.py --check

Verifies the results and writes to docs/_extra/boards/NAME a slim bundle of them, the board made
from it, and ``about.json`` (the command, processor, registration, and SHA-256 and size of the
bundles). A board of attention needs predictions, and a slim bundle of many runs is too large to
commit: their boards are made from the whole bundle. Takes a picture of the board where there is
a Chromium, and rewrites docs/boards.md. The whole bundle goes to --bundles, to be attached to a
release. With --check, nothing is written: every file that an ``about.json`` names must be as it
says, and the slim bundle, and a whole one in --bundles, must be sound and give the same tables.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
from pandas.testing import assert_frame_equal

import medbench
from medbench.errors import StoreError
from medbench.store.bundle import write_bundle
from medbench.store.results import ResultsFolder

ROOT = Path(__file__).parents[1]
BOARDS = ROOT / "docs" / "_extra" / "boards"
PAGE = ROOT / "docs" / "boards.md"
#: The bundle without predictions, which is committed.
SLIM = "slim.medbench.zip"
#: Bytes of a slim bundle that is committed.
MOST_BYTES = 5_000_000
#: First pages, which begin with the newest board.
FIRST = (ROOT / "docs" / "index.md", ROOT / "README.md")
NEWEST = re.compile(r"(<!-- newest board: .*? -->\n).*?(<!-- end of newest board -->)", re.DOTALL)
SECTIONS = re.compile(r"(<!-- boards: .*? -->\n).*?(<!-- end of boards -->)", re.DOTALL)


def run(*words: object, cwd: Path | None = None) -> str:
    """Call medbench; its output, or an end of the program with its message."""
    command = [sys.executable, "-m", "medbench", *map(str, words)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)
    if ended.returncode:
        sys.exit(f"medbench {' '.join(map(str, words))}: {ended.stdout}{ended.stderr}")
    return ended.stdout


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def publish(folder: Path, bundles: Path) -> None:
    """Verify results and write their board, its picture and the bundle."""
    run("verify", "--results", folder)
    results = medbench.load(folder)
    name = results.protocol.name
    bundles.mkdir(parents=True, exist_ok=True)
    bundle, target = bundles / f"{name}.medbench.zip", BOARDS / name
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    write_bundle(ResultsFolder.open(folder), bundle)
    # from a bundle, so that anybody who has it gets the same
    source = target / SLIM if write_slim(folder, target / SLIM) else bundle
    # in its folder, so that runs.csv names the bundle and no path of this machine
    made = ("leaderboard", "--results", source.name, "--out", target, "--json")
    said = json.loads(run(*made, cwd=source.resolve().parent))
    files = sorted(file for file in target.rglob("*") if file.is_file())
    header = results.header(results.runs["run_key"].iloc[0])
    origin = header.metadata["provenance"]
    about = {
        "name": name,
        "description": results.protocol.description,
        "command": f"medbench run --all --protocol {name}",
        "runs": len(results.runs),
        "says": said["sentences"][:2],
        "processor": origin["gpu"]["name"] if origin.get("gpu") else origin["cpu"],
        "medbench": origin["medbench"],
        "registered": results.registrations[0][0].time,
        "registration": results.registrations[0][-1].hash,
        "bundle": {"name": bundle.name, "sha256": sha256(bundle), "bytes": bundle.stat().st_size},
        "slim_bytes": (target / SLIM).stat().st_size if source != bundle else None,
        "files": {file.relative_to(target).as_posix(): sha256(file) for file in files},
    }
    (target / "about.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    picture(target / "index.html", ROOT / "docs" / "_static" / f"board-{name}.png")


def write_slim(folder: Path, target: Path) -> bool:
    """Write a slim bundle; tell whether it is committed."""
    with TemporaryDirectory() as scratch:
        run("leaderboard", "--results", folder, "--out", scratch)  # computes what is slim
    try:
        write_bundle(ResultsFolder.open(folder), target, slim=True)
    except StoreError:  # a board of attention needs predictions
        return False
    if target.stat().st_size > MOST_BYTES:
        target.unlink()
    return target.is_file()


def picture(page: Path, target: Path) -> None:
    """Take a picture of the top of a board, where there is a Chromium."""
    if chromium := shutil.which("chromium"):
        options = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars")
        command = [chromium, *options, "--window-size=1200,900", f"--screenshot={target}"]
        subprocess.run([*command, page.as_uri()], capture_output=True, check=True)


def published() -> list[dict[str, Any]]:
    """Return what is said of each board, the newest first."""
    found = [json.loads(path.read_text("utf-8")) for path in BOARDS.glob("*/about.json")]
    return sorted(found, key=lambda about: str(about["registered"]), reverse=True)


def sections() -> str:
    """Return the boards as docs/boards.md shows them, a section each."""
    text = ""
    for about in published():
        folder, bundle = f"boards/{about['name']}", about["bundle"]
        size = bundle["bytes"] / 1e6
        slim = "no slim bundle: too large, or without what attention needs"
        if about["slim_bytes"]:
            slim = f'<a href="{folder}/{SLIM}">slim bundle</a>, {about["slim_bytes"] / 1e6:.1f} MB'
        text += f"""
## {about["name"]}

<a href="{folder}/index.html">The board</a> of {about["runs"]} runs. {" ".join(about["says"])}

- `{about["command"]}`
- on {about["processor"]}, registered {about["registered"][:10]} as `{about["registration"][:12]}`
- {slim}
- with predictions: `{bundle["name"]}`, {size:.0f} MB, SHA-256 `{bundle["sha256"][:12]}`

"""
    return text


def newest(page: Path) -> str:
    """Return the beginning of a first page: the picture of the newest board, and what it says."""
    about, inside = published()[0], page.parent == ROOT
    static, boards = ("docs/_static", "docs/boards.md") if inside else ("_static", "boards.md")
    named, says = f"The board of the protocol {about['name']}", about["says"]
    said = says[0] if says[0].startswith("Found") else " ".join(says)
    return f"\n[![{named}]({static}/board-{about['name']}.png)]({boards})\n\n{said}\n\n"


def written(page: Path, pattern: re.Pattern[str], text: str) -> str:
    """Return a page with the text between two marks."""
    return pattern.sub(lambda m: m[1] + text + m[2], page.read_text(encoding="utf-8"))


def same_table(first: Path, second: Path) -> bool:
    """Tell whether two tables are the same, but for sums in another order."""
    try:
        assert_frame_equal(pd.read_csv(first), pd.read_csv(second), rtol=1e-9, atol=1e-9)
    except AssertionError:
        return False
    return True


def pages() -> dict[Path, str]:
    """Return the pages that show boards, as they should be."""
    first = {page: written(page, NEWEST, newest(page)) for page in FIRST}
    return {PAGE: written(PAGE, SECTIONS, sections()), **first}


def check(bundles: Path) -> list[str]:
    """Return what is not as it is said to be."""
    wrong = []
    for about in published():
        folder = BOARDS / about["name"]
        wrong += [
            f"{folder / file} is not what about.json says"
            for file, digest in about["files"].items()
            if not (folder / file).is_file() or sha256(folder / file) != digest
        ]
        bundle = bundles / about["bundle"]["name"]
        if bundle.is_file() and sha256(bundle) != about["bundle"]["sha256"]:
            wrong.append(f"{bundle} is not what about.json says")
        for source in filter(Path.is_file, (folder / SLIM, bundle)):
            run("verify", "--results", source)
            with TemporaryDirectory() as scratch:
                run("leaderboard", "--results", source, "--out", scratch)
                wrong += [
                    f"{source} gives another {file}"
                    for file in ("leaderboard.csv", "tests.csv")
                    if not same_table(Path(scratch) / file, folder / file)
                ]
    wrong += [
        f"{page} does not show the boards as they are: publish one again"
        for page, text in pages().items()
        if page.read_text("utf-8") != text
    ]
    return wrong


def main() -> int:
    """Publish, or check."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("results", nargs="*", type=Path, help="results folders")
    options.add_argument("--bundles", type=Path, default=ROOT / "dist", help="folder of bundles")
    options.add_argument("--check", action="store_true", help="only check what is published")
    given = options.parse_args()
    if given.check:
        wrong = check(given.bundles)
        sys.stderr.write("".join(f"{line}\n" for line in wrong))
        return int(bool(wrong))
    for folder in given.results:
        publish(folder, given.bundles)
    for page, text in pages().items():
        page.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Install medbench by each documented way into a fresh home, and run `smoke` there.

    uv run --no-sync python tools/check_installs.py                  every way
    uv run --no-sync python tools/check_installs.py --only wheel     one of them
    uv run --no-sync python tools/check_installs.py --share-cache    without downloading again

Prints a line for each way: what was tried, how long it took, and what failed. Exit status: 0, or
1 if a way failed. A way downloads and unpacks torch: several gigabytes, and minutes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: Left out of the copy: what git does not track.
PASSED_OVER = (".git", ".venv", "*cache*", "medbench-results", "node_modules", "site", "uv.lock")
SMOKE = ("run", "--all", "--protocol", "smoke", "--device", "cpu")


class Place:
    """A fresh home with a copy of the checkout in ``clone``."""

    def __init__(self, home: Path, *, share_cache: bool) -> None:
        self.home = home
        self.clone = home / "clone"
        kept = ("PATH", "LANG", "TERM", "TMPDIR")
        settings = ("PIP_", "UV_", "SSL_", "HTTP", "http", "NO_PROXY", "no_proxy")
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if name in kept or name.startswith(settings)
        }
        self.environment["HOME"] = str(home)
        if share_cache:
            cache = subprocess.run(["uv", "cache", "dir"], capture_output=True, text=True)
            self.environment["UV_CACHE_DIR"] = cache.stdout.strip()
        shutil.copytree(ROOT, self.clone, ignore=shutil.ignore_patterns(*PASSED_OVER))

    def call(self, *words: object, where: Path | None = None) -> str:
        """Call a command; end the program's try at this way if it fails."""
        ended = subprocess.run(
            [str(word) for word in words],
            cwd=where or self.home, env=self.environment, capture_output=True, text=True,
        )  # fmt: skip
        if ended.returncode:
            said = (ended.stderr.strip() or ended.stdout.strip()).splitlines()[-3:]
            raise RuntimeError(f"{' '.join(map(str, words))}: {' / '.join(said)}")
        return ended.stdout

    def environment_at(self, name: str) -> Path:
        """Make a virtual environment with pip; return its folder of programs."""
        self.call(sys.executable, "-m", "venv", name)
        return self.home / name / "bin"

    def board(self, *medbench: object, where: Path | None = None, more: Sequence[str] = ()) -> None:
        """Run `smoke` and see that there is a board."""
        self.call(*medbench, *SMOKE, *more, where=where)
        page = (where or self.home) / "medbench-results" / "smoke" / "board" / "index.html"
        if not page.exists():
            raise RuntimeError(f"there is no {page}")


def clone(place: Place) -> None:
    """Call `uv run medbench` in a clone, as the README begins."""
    place.board("uv", "run", "medbench", where=place.clone)


def pip(place: Place) -> None:
    """Call `pip install .` in a clone."""
    programs = place.environment_at("venv")
    place.call(programs / "pip", "install", "-q", place.clone)
    place.board(programs / "medbench")


def wheel(place: Place) -> None:
    """Build and check a wheel and an sdist, and install the wheel with an extra."""
    dist = place.home / "dist"
    place.call("uv", "build", "-q", "--out-dir", dist, place.clone)
    (built,) = dist.glob("*.whl")
    place.call("uv", "tool", "run", "-q", "twine", "check", "--strict", *dist.glob("medbench-*"))
    # W002: licences are next to the data, too; W004: packages hold data; W009: three packages
    place.call(
        "uv", "tool", "run", "-q", "check-wheel-contents", "--ignore", "W002,W004,W009", built
    )
    programs = place.environment_at("venv")
    place.call(programs / "pip", "install", "-q", f"{built}[dicom]")
    place.board(programs / "medbench")


def own(place: Place) -> None:
    """Make an environment of one's own with a plugin that `uv sync` keeps, and submit its runs."""
    lab = place.home / "lab"
    place.call("uv", "init", "-q", "--bare", lab)
    place.call("uv", "add", "-q", "--editable", place.clone, where=lab)
    place.call("uv", "run", "medbench", "new", "method", "my-loss", where=lab)
    place.call("uv", "add", "-q", "--editable", "./my-loss", where=lab)
    place.call("uv", "sync", "-q", where=lab)
    if "my-loss" not in place.call("uv", "run", "medbench", "list", "methods", where=lab):
        raise RuntimeError("the plugin is gone")
    place.board("uv", "run", "medbench", where=lab, more=("--add", "my-loss"))
    who = ("--name", "mine", "--author", "Nobody", "--sign-off")
    place.call(
        *("uv", "run", "medbench", "submit", *who, "--source", "medbench-my-loss=./my-loss"),
        where=lab,
    )


WAYS: dict[str, Callable[[Place], None]] = {
    way.__name__: way for way in (clone, pip, wheel, own)
}  # fmt: skip


def main() -> int:
    """Try the ways that were asked for."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--only", choices=WAYS, action="append", help="may be repeated")
    options.add_argument("--share-cache", action="store_true", help="use this user's cache of uv")
    given, failed = options.parse_args(), 0
    for name in given.only or WAYS:
        began, fault = time.monotonic(), ""
        with tempfile.TemporaryDirectory(prefix=f"medbench-{name}-") as home:
            try:
                WAYS[name](Place(Path(home), share_cache=given.share_cache))
            except RuntimeError as error:
                fault, failed = f": {error}", failed + 1
        took = time.monotonic() - began
        print(
            f"{'failed' if fault else 'ok':6} {name:6} {took:5.0f} s  {WAYS[name].__doc__}{fault}"
        )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

"""Run what a page shows, and compare what it prints; or write the outputs into the page.

    uv run --no-sync python tools/run_page.py docs/ten-minutes.md
    uv run --no-sync python tools/run_page.py docs/ten-minutes.md --write

The page's blocks are run in order in an empty folder, with a home of its own:

- ``console``: lines that begin with ``$ `` are commands; what follows is their output, in which
  ``...`` is anything. ``uv run`` is left out: the commands are those of this environment.
- a block whose first line is ``# FILE``: the file FILE, written.

Numbers of seconds, sizes, times and keys differ from run to run and are not compared. Exit status:
0, or 1 where an output or an exit status is another one.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: Lines that count up.
PROGRESS = re.compile(r"^\d+/\d+ [^\n]*\n", re.MULTILINE)
#: Lines on jobs that ended, in an order that depends on how long they take.
JOBS = re.compile(r"^\[ *\d+/\d+\] [^\n]*\n", re.MULTILINE)
#: What differs from run to run, and what it is compared as.
VARIES = (
    (re.compile(r"\b\d+(?:\.\d+)? (?:s|ms|min|h|kB|MB|GB|bytes|a minute)\b"), "TIME"),
    (re.compile(r"\b\d+ min TIME\b|\bTIME TIME\b"), "TIME"),
    (re.compile(r"\b[0-9a-f]{8,64}\b"), "KEY"),
    (re.compile(r"\b\d{4}-\d\d-\d\d\b"), "DATE"),
    (re.compile(r"[ \t]+"), " "),
)


def comparable(text: str) -> str:
    """Return an output without what differs from run to run."""
    text = JOBS.sub("", PROGRESS.sub("", text))
    for pattern, instead in VARIES:
        text = pattern.sub(instead, text)
    return "\n".join(line.strip() for line in text.splitlines() if line.strip())


def agrees(said: str, found: str) -> bool:
    """Tell whether an output is as the page says; ``...`` is anything."""
    said_parts = re.split(r"^\.\.\.$", said, flags=re.MULTILINE)
    parts = [re.escape(comparable(part)) for part in said_parts]
    return re.fullmatch(r"(?s:.*)".join(parts), comparable(found)) is not None


def split(block: str) -> list[tuple[str, str]]:
    """Return the commands of a console block with their outputs."""
    found: list[tuple[str, str]] = []
    for line in block.splitlines(keepends=True):
        if line.startswith("$ "):
            found.append((line[2:].rstrip("\n"), ""))
        elif line.startswith("> ") and found and not found[-1][1]:  # a command of several lines
            found[-1] = (found[-1][0] + "\n" + line[2:].rstrip("\n"), "")
        elif found:
            found[-1] = (found[-1][0], found[-1][1] + line)
    return found


class Page:
    """A page that is run in a folder."""

    def __init__(self, folder: Path, *, write: bool) -> None:
        self.folder, self.write, self.faults = folder, write, 0
        programs = Path(sys.executable).parent
        kept = {name: os.environ[name] for name in ("LANG", "TMPDIR") if name in os.environ}
        self.environment = {
            **kept,
            "HOME": str(folder / "home"),
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "COLUMNS": "100",
        }

    def run(self, match: re.Match[str]) -> str:
        """Run a block; return it with its outputs as they are."""
        language, body = match[1], match[2]
        if language == "console":
            return f"```console\n{''.join(self._command(*each) for each in split(body))}```"
        if named := re.match(r"# (\S+\.\w+)\n", body):
            (self.folder / named[1]).write_text(body, encoding="utf-8")
        return match[0]

    def _command(self, command: str, said: str) -> str:
        ended = subprocess.run(
            ["bash", "-c", command.replace("uv run ", "")],
            cwd=self.folder, env=self.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        shown = "\n> ".join(command.splitlines())
        place = str(self.folder)
        output = ended.stdout.replace(f"{place}/home", "~").replace(f"{place}/", "")
        if ended.returncode or not (self.write or agrees(said, output)):
            self.faults += 1
            sys.stderr.write(
                f"$ {command}\nexit status {ended.returncode}; the page says:\n{said}\n"
                f"the command says:\n{ended.stdout}\n"
            )
        return f"$ {shown}\n{_short(output) if self.write else said}"


def _short(output: str) -> str:
    """Return an output without the middle of a long list of jobs."""
    lines = output.splitlines()
    jobs = [i for i, line in enumerate(lines) if re.match(r"\[ *\d+/\d+\]", line)]
    if len(jobs) > 2:
        lines[jobs[1] : jobs[-1]] = ["..."]
    return PROGRESS.sub("", "".join(f"{line.rstrip()}\n" for line in lines))


def main() -> int:
    """Run the pages that were asked for."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("pages", nargs="+", type=Path)
    options.add_argument("--write", action="store_true", help="write the outputs into the page")
    given, faults = options.parse_args(), 0
    for path in given.pages:
        with TemporaryDirectory(prefix="medbench-page-") as folder:
            page = Page(Path(folder), write=given.write)
            text = BLOCK.sub(page.run, path.read_text(encoding="utf-8"))
            faults += page.faults
        if given.write and not page.faults:
            path.write_text(text, encoding="utf-8")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())

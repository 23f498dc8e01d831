"""Checks that docs, messages, docstrings and comments use plain technical English.

    uv run python tools/check_words.py

Prints each line with a word of the list, and what to write instead; exit status 1 if
there are any. Ordinary uses are listed in :data:`EXCEPTIONS`, each with its reason.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

#: Words to avoid, as regular expressions, with what to write instead.
WORDS = {
    r"stands?": "is, are, is stored, is saved",
    r"mend(s|ed|ing)?": "fix",
    r"beside": "next to, besides, in addition to",
    r"anew": "again, rebuild, restart",
    r"whoever|whosoever": "name who: the user, the caller, the plugin",
    r"whatever": "any, everything, name it",
    r"thereby|wherein|herein|hereby|thereof|whereby": "by this, in which",
    r"owe[sd]?|owing": "must, is due to",
    r"lest": "so that ... does not",
    r"nought|naught": "zero, nothing",
    r"hence": "so, therefore",
    r"see to it": "make sure",
    r"judge[sd]?": "evaluator (process)",
    r"warden": "resource monitor",
    r"scout(s|ed)?": "probe",
    r"pulses?": "heartbeat",
    r"preface": "header",
    r"accidents": "metadata",
    r"tak(e|es|en|ing) up(?! to)": "resume",
    r"(put|puts|putting) back": "restore",
    r"(is|are|was|were|be) told|tells? of": "receives, reports, says",
    r"goes on|went on": "continues",
    r"behold|betimes|ere|oft|whence|whither|unto": "plain words",
}

#: (path, line, reason): regular expressions of lines that may keep a word.
EXCEPTIONS: list[tuple[str, str, str]] = [
    (r"tools/check_words\.py", r"", "the list itself"),
    (r"LICENSE", r"hereby granted", "the text of a licence"),
]

_SUFFIXES = {".py", ".md", ".html", ".toml", ".j2", ".js", ".css", ".yml"}


def main() -> int:
    """Print every line with a word to avoid; return the exit status."""
    files = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True)
    pattern = re.compile(
        "|".join(rf"(?<![^\W_])(?:{word})(?![^\W_])" for word in WORDS), re.IGNORECASE
    )
    found = 0
    for path in map(Path, files.stdout.splitlines()):
        made = path.is_relative_to("docs/_extra")  # boards, written by the code that is checked
        if made or path.suffix not in _SUFFIXES or not path.is_file():
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            match = pattern.search(line)
            if match and not _excepted(path, line):
                found += 1
                print(f"{path}:{number}: {match.group()!r}: write {_instead(match.group())}")
    print(f"{found} lines with words to avoid" if found else "no words to avoid")
    return min(found, 1)


def _excepted(path: Path, line: str) -> bool:
    return any(
        re.search(place, path.as_posix()) and re.search(text, line) for place, text, _ in EXCEPTIONS
    )


def _instead(word: str) -> str:
    return next(w for p, w in WORDS.items() if re.fullmatch(p, word, re.IGNORECASE))


if __name__ == "__main__":
    sys.exit(main())

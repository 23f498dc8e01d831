"""Commands in README, docs and messages exist, with the options and arguments that are shown."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from medbench.cli import cli

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
SOURCES = [
    path
    for folder in ("benchmark", "plugins", "leaderboard")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
#: No commands: text in which the word happens to come first.
PROSE = re.compile(r"medbench(?: (?:is|imports|and|in)\b|$)")


def commands_of(page: str) -> Iterator[str]:
    """Yield the commands of a page: in code blocks, whole lines; in the text, in backticks."""
    blocks = re.findall(r"^```(?:\w*)\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    for block in blocks:
        lines = re.sub(r" *\\\n *", " ", block).splitlines()
        yield from (
            found[1]
            for line in lines
            if (found := re.match(r"(?:\$ )?(?:uv run )?(medbench .*)", line.strip()))
        )
    text = re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL)
    yield from re.findall(r"`(?:uv run )?(medbench\s[^`]+)`", text)


def messages_of(source: str) -> Iterator[str]:
    """Yield the commands in backticks in the strings of a module; what is put in is ``X``."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            text = "".join(
                str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        else:
            continue
        yield from re.findall(r"`(medbench [^`]+)`", text)


def fault(command: str) -> str:
    """Return why a command would be refused for its words; empty if it would not."""
    command = re.split(r" [|>] ?| && ", command)[0].replace("…", "0")
    words = shlex.split(command, comments=True)[1:]
    # in tables of commands the meaning follows; brackets say what may be left out
    words = [word.strip("[]") for word in words if word not in ("...", "[...]")]
    while words and words[0] == "--debug":
        words.pop(0)
    group: click.Command = cli
    context = click.Context(cli, info_name="medbench")
    if words and words[0].startswith("-"):
        return ""
    while isinstance(group, click.Group):
        if not words:
            return ""
        found = group.get_command(context, words[0])
        if found is None:
            return f"there is no command {words[0]!r}"
        context = click.Context(found, parent=context, info_name=words.pop(0))
        group = found
    try:
        group.make_parser(context).parse_args(list(words))
    except click.UsageError as error:
        text = error.format_message()
        return "" if "requires an argument" in text else text  # the option alone is meant
    return ""


SHOWN = {
    f"{path.relative_to(ROOT)}: {' '.join(command.split())}": " ".join(command.split())
    for paths, find in ((PAGES, commands_of), (SOURCES, messages_of))
    for path in paths
    for command in find(path.read_text(encoding="utf-8"))
    if not PROSE.match(command)
}


def test_there_are_many() -> None:
    assert len(SHOWN) > 150


@pytest.mark.parametrize("command", SHOWN.values(), ids=SHOWN)
def test_a_command_that_is_shown_is_understood(command: str) -> None:
    assert not fault(command)


def test_a_wrong_word_is_found() -> None:
    assert "no command" in fault("medbench runn --all")
    assert "--al" in fault("medbench run --al")

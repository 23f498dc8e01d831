"""Commands in README, docs and messages exist, with the options and arguments that are shown."""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import click
import pytest
from commandline import Finished, medbench, tiny_protocol
from test_suspects import write_images

from medbench.cli import cli

ROOT = Path(__file__).parents[3]
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
            re.split(r"  +", found[1])[0]  # in tables of commands the meaning follows
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
    # brackets say what may be left out
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


#: Commands that are not run here, as regular expressions, with the reason. `run` is given
#: `--dry-run`, so that no grid is among them.
NOT_RUN = {
    r"run\b.* --on .*|stop|node .*": "need a cluster: tests/medbench/cluster",
    r"status --watch": "does not end",
    r"--debug": "an option of every command",
    r"data prepare .*--download": "needs a network",
    r"data prepare (NAME|PLUGIN|bccd|covid-qu-ex|folder:(NAME|ct)|medmnist|nct-crc).*": (
        "needs images that are not here: test_originals.py and test_folder.py prepare imitations"
    ),
    r"(check|run) .*(textures|mirrored|grade-slip|doubt|spots|neighbour|brightness).*": (
        "plugins of the tutorials: tests/test_tutorials.py"
    ),
    r"check( --plugin .*)?": "takes ten seconds: tests/test_from_nothing.py, test_check.py",
    r"check class-dependent .*": "the page leaves the matrix out: tests/medbench/check",
    r"(suspects|relabel) .*|run .*my-clinic@2.*": "trains networks: test_suspects.py",
    r"submit .*": "needs an installed package and a published protocol: test_submit.py",
    r"verify .*--repeat .*": "trains again: test_verify.py",
    r"leaderboard --results .*": "takes five seconds: tests/medbench/store/test_bundle.py",
    r"labels --protocol .*": "needs runs of `quick`: test_labels.py",
}
#: What is given for what a page leaves open, or for what is too large.
GIVEN = {
    r"medbench-results/(quick|first)\b": "medbench-results/tiny",
    r"--dataset kather-texture-mini --rate 0.5": "--dataset pneumonia-mnist --rate 0.25",
    r"(?<=new )KIND NAME\b": "method other",
    r"(?<=new method )my-loss$": "another",  # `my-loss` is there already
    r"\bKIND NAME\b": "method dividemix",
    r"(?<=--protocol )(NAME|P)\b": "smoke",
    r"(?<=--log )NAME\b": "csv",
    r"(?<=check )NAME\b": "dividemix --rule description",
    r"(?<=confirm )quick$": "smoke",  # `quick` is registered already
    r"\[?\bNAME\b(\.\.\.\])?": "pneumonia-mnist",
    r"\bFOLDER\b": "../unpacked",
    r"9f3c…": "9f3c0123456789ab",
    r"\bMY-METHOD\b": "small-loss",
    r"--add \.\.\. --set \.\.\.": "--add gce --set gce.q=0.5",
}
#: A command or an option of it that is only mentioned.
MENTION = re.compile(r"([a-z]+(?: [a-z]+)?)(?: (--[a-z-]+))?")
MINE = '''
"""A method of one's own."""
from medbench_plugins.methods.gce import GCE, GCESettings


class MineSettings(GCESettings):
    alpha: float = 0.5


class Mine(GCE):
    """GCE with a setting."""

    Settings = MineSettings
'''


def without_remark(command: str) -> str:
    """Return a command without its pipe, what follows it and a comment."""
    return re.split(r" [|>] ?| && | #", command)[0].removeprefix("medbench").strip()


def as_run(command: str, key: str) -> list[str]:
    """Return the words with which a command is run here."""
    for pattern, instead in {**GIVEN, r"\bKEY\b": key}.items():
        command = re.sub(pattern, instead, command)
    words = shlex.split(command)
    if words[0] == "run" and "--dry-run" not in words:
        words.append("--dry-run")
    return [str(Path(word).expanduser()) if word[0] == "~" else word for word in words]


@pytest.fixture(scope="module")
def lab(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with what the pages' commands name: results, a bundle, plugins, images."""
    folder = tmp_path_factory.mktemp("lab")
    shutil.copytree(finished.results, folder / "medbench-results" / "tiny")
    (folder / "mine.py").write_text(MINE)
    for name in ("mine", "theirs", "first", "trial", "quick-confirmed"):
        (folder / f"{name}.toml").write_text(tiny_protocol(name=name))
    (folder / "tools").symlink_to(ROOT / "tools")
    (folder / "new").mkdir()
    write_images(folder / "images", per_class=8)
    settings = {
        "HOME": str(folder / "home"),
        "XDG_CACHE_HOME": str(folder / "home" / ".cache"),
        # as if they were installed
        "MEDBENCH_PLUGIN_PATH": os.pathsep.join((str(folder / "mine.py"), str(folder / "my-loss"))),
    }
    with mock.patch.dict(os.environ, settings):
        for first in (
            ("bundle", "--out", "theirs.zip"),
            ("bundle", "--out", "quick-of-my-lab.zip"),
            ("new", "method", "my-loss"),
            ("confirm", "quick"),
            ("data", "prepare", "folder:my-clinic", "images"),
        ):
            ended = medbench(*first, cwd=folder)
            assert ended.status == 0, ended.err
        yield folder


RUN = sorted(
    command
    for command in map(without_remark, set(SHOWN.values()))
    if not any(re.fullmatch(pattern, command) for pattern in NOT_RUN)
)


@pytest.mark.parametrize("command", RUN)
def test_a_command_that_is_shown_works(command: str, lab: Path) -> None:
    words = as_run(command, next((lab / "medbench-results").rglob("*.h5")).stem)
    ended = medbench(*words, cwd=lab / "new" if words[0] == "new" else lab)
    if ended.status == 2 and (mention := MENTION.fullmatch(command)):
        ended = medbench(*mention[1].split(), "--help", cwd=lab)
        assert (mention[2] or "") in ended.out
    assert ended.status == 0, ended.err


def test_each_exception_is_needed() -> None:
    for pattern in NOT_RUN:
        commands = map(without_remark, SHOWN.values())
        assert any(re.fullmatch(pattern, command) for command in commands), pattern


def test_there_are_many() -> None:
    assert len(SHOWN) > 150


@pytest.mark.parametrize("command", SHOWN.values(), ids=SHOWN)
def test_a_command_that_is_shown_is_understood(command: str) -> None:
    assert not fault(command)


def test_a_wrong_word_is_found() -> None:
    assert "no command" in fault("medbench runn --all")
    assert "--al" in fault("medbench run --al")


def test_the_tools_that_pages_name_are_there() -> None:
    named = {
        tool
        for page in PAGES
        for tool in re.findall(r"\b(?:tools|performance)/\w+\.py\b", page.read_text("utf-8"))
    }
    assert len(named) > 5
    assert [tool for tool in sorted(named) if not (ROOT / tool).exists()] == []

"""Scripts, files and folders of users' own: nothing of theirs runs twice or is overwritten."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commandline import medbench, tiny_protocol
from safetensors.numpy import load_file

import medbench as package
from medbench.errors import MedbenchError, ProtocolError, StoreError


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a space in its name, and in it the results of a small protocol."""
    folder = tmp_path_factory.mktemp("a lab")
    (folder / "tiny.toml").write_text(tiny_protocol())
    ended = medbench("run", "--all", "--protocol", "tiny.toml", "--device", "cpu", cwd=folder)
    assert ended.status == 0, ended.err
    return folder


def test_a_script_needs_no_guard(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(tiny_protocol())
    script = tmp_path / "mine.py"
    script.write_text(
        "import medbench\n"
        "print('begun')\n"
        "found = medbench.run('tiny.toml', device='cpu', jobs=2, progress=False)\n"
        "print(set(found.runs['status']))\n"
        "from medbench.store.parallel import spread\n"
        "print(list(spread(abs, [-1, 2, -3])))\n"
        "print(__file__)\n"
    )
    ended = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == ["begun", "{'done'}", "[1, 2, 3]", str(script)]


def test_a_board_overwrites_no_file_of_others(lab: Path, tmp_path: Path) -> None:
    paper = tmp_path / "paper"
    paper.mkdir()
    (paper / "references.bib").write_text("@article{mine}")
    ended = medbench("leaderboard", "--out", paper, cwd=lab)
    assert (ended.status, ended.out) == (2, "")
    assert "references.bib is there, and no board of medbench" in ended.err
    assert [path.name for path in paper.iterdir()] == ["references.bib"]
    board = tmp_path / "board"
    for _ in range(2):  # a board of its own is made again
        assert medbench("leaderboard", "--out", board, cwd=lab).status == 0


def test_a_confirmation_is_repeated_by_the_commands_that_are_printed(tmp_path: Path) -> None:
    (tmp_path / "my plan.toml").write_text(tiny_protocol())
    assert medbench("new", "method", "my-loss", cwd=tmp_path).status == 0
    changed = ("--plugin", "my-loss", "--set", "training.epochs=1")
    registered = medbench("confirm", "my plan.toml", *changed, cwd=tmp_path)
    assert registered.status == 0, registered.err
    (command,) = re.findall(r"^  medbench (.*) HEX$", registered.out, re.MULTILINE)
    made = medbench(*shlex.split(command), "9f3c" * 4, cwd=tmp_path)
    assert made.status == 0, made.err
    (command,) = re.findall(r"^Run it:  medbench (.*)$", made.out, re.MULTILINE)
    planned = medbench(*shlex.split(command), "--dry-run", "--json", cwd=tmp_path)
    assert planned.status == 0, planned.err
    assert "my-loss" in (tmp_path / "tiny-confirmed.toml").read_text()


def test_finished_runs_that_are_no_longer_planned_are_named(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(tiny_protocol(methods=["cross-entropy", "gce"]))
    run = ("run", "--all", "--protocol", "tiny.toml", "--device", "cpu")
    assert medbench(*run, cwd=tmp_path).status == 0
    (tmp_path / "tiny.toml").write_text(tiny_protocol(methods=["cross-entropy"]))
    again = medbench(*run, cwd=tmp_path)
    assert "no longer planned: 1 finished run, such as pneumonia-mnist" in again.err
    assert "gce" in again.err


def test_nothing_to_repeat_is_json_too(lab: Path) -> None:
    ended = medbench("run", "--only-failed", "--protocol", "tiny.toml", "--json", cwd=lab)
    assert (ended.status, ended.json["runs"], ended.json["failed"]) == (0, 0, 0)
    whole = medbench("run", "--all", "--protocol", "tiny.toml", "--json", cwd=lab)
    assert whole.json.keys() == ended.json.keys()


def test_a_slim_bundle_needs_a_board_and_the_message_says_how(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(tiny_protocol())
    run = ("run", "--all", "--protocol", "tiny.toml", "--device", "cpu", "--results", "my results")
    assert medbench(*run, cwd=tmp_path).status == 0
    for whole in (tmp_path / "my results" / "index").glob("whole-*"):
        whole.unlink()
    slim = ("bundle", "--results", "my results", "--slim")
    refused = medbench(*slim, cwd=tmp_path)
    (command,) = re.findall("`medbench (.*)`", refused.err)
    assert medbench(*shlex.split(command), cwd=tmp_path).status == 0


@pytest.mark.parametrize("prefix", ["*", "**", "/", "xyz"])
def test_a_key_has_hexadecimal_digits(lab: Path, prefix: str) -> None:
    ended = medbench("log", prefix, cwd=lab)
    assert (ended.status, ended.out) == (2, "")
    assert "is no beginning of a key" in ended.err


def test_without_its_protocol_a_folder_is_checked_all_the_same(lab: Path) -> None:
    protocol = lab / "medbench-results" / "tiny" / "protocol.toml"
    text = protocol.read_text()
    protocol.unlink()
    try:
        ended = medbench("verify", cwd=lab)
    finally:
        protocol.write_text(text)
    assert ended.status == 1
    assert "registration.jsonl: protocol.toml is missing" in ended.out
    assert "1 file checked, 1 at fault" in ended.out


def test_a_beacon_without_repetitions_is_refused(lab: Path) -> None:
    ended = medbench("verify", "--beacon", "9f3c" * 4, cwd=lab)
    assert ended.status == 2
    assert "say --repeat K, too" in ended.err


def test_run_takes_single_values_and_refuses_what_chooses_nothing(lab: Path) -> None:
    results = lab / "medbench-results" / "tiny"
    run = {"results": results, "device": "cpu", "progress": False}
    found = package.run(lab / "tiny.toml", settings="training.epochs=2", **run)
    assert set(found.runs["status"]) == {"done"}
    with pytest.raises(ProtocolError, match=r"method=\[\] chooses nothing"):
        package.run(lab / "tiny.toml", method=[], **run)
    with pytest.raises(ProtocolError, match="jobs='2'"):
        package.run(lab / "tiny.toml", jobs="2", **run)  # type: ignore[arg-type]


def test_results_in_python_name_what_they_cannot_take(
    lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = package.load(lab / "medbench-results" / "tiny")
    key = results.runs["run_key"].iloc[0]
    assert results.header(key.upper()).key == key
    with pytest.raises(StoreError, match="give one value of each axis"):
        results.find(method=["cross-entropy"])
    monkeypatch.setattr(type(results), "weights", lambda self, name: {"a": np.zeros(2)})
    with pytest.raises(MedbenchError, match=r"tiny.toml/a.safetensors"):
        results.export_weights(key, lab / "tiny.toml" / "a.safetensors")
    results.export_weights(key, lab / "a.safetensors")
    assert load_file(lab / "a.safetensors")["a"].tolist() == [0, 0]


def test_a_submission_is_refused_before_it_is_checked(lab: Path) -> None:
    given = ("submit", "--author", "me", "--sign-off", "--name")
    bad = medbench(*given, "Bad Name", cwd=lab)
    assert "is no name for a submission" in bad.err
    unknown = medbench(*given, "mine", "--source", "foo", cwd=lab)
    assert "--source foo: say PACKAGE=WHERE" in unknown.err
    assert json.loads((lab / "medbench-results" / "tiny" / "medbench.json").read_text())

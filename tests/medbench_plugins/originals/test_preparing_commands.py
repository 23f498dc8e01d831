"""The commands that prepare, list and verify datasets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from original_trees import Files, embedded_images, write_tree

from medbench.cli import cli
from medbench.errors import MedbenchError


def medbench(cache: Path, *words: object) -> Result:
    return CliRunner().invoke(cli, [*map(str, words), "--cache", str(cache)])


def test_from_a_folder_of_images_to_a_plan_with_two_commands(
    tmp_path: Path, clinic: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cache = tmp_path / "cache"
    images = write_tree(tmp_path / "images", clinic)
    done = medbench(cache, "data", "prepare", "folder:my-clinic", images, "--workers", 1)
    assert done.exit_code == 0, done.output
    assert f"Next: medbench run --all --protocol {cache / 'my-clinic.toml'} --cache" in done.output
    planned = medbench(cache, "run", "--all", "--dry-run", "--protocol", cache / "my-clinic.toml")
    assert planned.exit_code == 0, planned.output
    assert "42 to do" in planned.output
    for question in ("methods", "pretraining"):
        assert f"Question {question} can be decided" in planned.output
    listed = medbench(cache, "data", "list", "--json")
    rows = {row["name"]: row for row in json.loads(listed.stdout)}
    assert rows["my-clinic"]["state"] == "ready"
    assert rows["my-clinic"]["card"]["trusted"] == []
    assert "labels as given in train, validation, test; they may be wrong" in done.output
    table = medbench(cache, "data", "list").output
    assert next(line for line in table.splitlines() if "my-clinic" in line).count("as given") == 1
    assert rows["medmnist:bloodmnist"]["state"] == "not prepared"
    assert "prepare medmnist:bloodmnist bloodmnist.npz" in rows["medmnist:bloodmnist"]["fix"]


def test_trust_is_told_on_the_command_line(tmp_path: Path, clinic: Files) -> None:
    images = write_tree(tmp_path / "images", clinic)
    told = ("--trusted", "test", "--trusted", "validation,train")
    named = ("data", "prepare", "folder:mine", images, "--workers", 1, "--json")
    card = json.loads(medbench(tmp_path, *named, *told).stdout)["card"]
    assert "trusted" not in card  # all are
    card = json.loads(medbench(tmp_path, *named, *told[:2]).stdout)["card"]
    assert card["trusted"] == ["test"]
    wrong = medbench(tmp_path, *named, "--trusted", "tests")
    assert "'tests': no split; give one of train, validation, test" in str(wrong.exception)
    others = medbench(tmp_path, "data", "prepare", "busi", images, *told)
    assert "labels of busi are trusted: leave --trusted out" in str(others.exception)


def test_verify_names_what_is_damaged(tmp_path: Path) -> None:
    whole = embedded_images("pneumonia-mnist").read_bytes()
    (tmp_path / "mine.h5").write_bytes(whole)
    assert medbench(tmp_path, "data", "verify", "mine").exit_code == 0
    damaged = bytearray(whole)
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "mine.h5").write_bytes(damaged)
    done = medbench(tmp_path, "data", "verify", "mine", "pneumonia-mnist", "--json")
    rows = json.loads(done.stdout)
    assert "mine.h5" in rows[0]["fault"]
    assert rows[1]["fault"] == ""
    assert (
        CliRunner()
        .invoke(cli, ["data", "verify", "--cache", str(tmp_path)], standalone_mode=False)
        .return_value
        == 1
    )
    missing = medbench(tmp_path, "data", "verify", "nowhere")
    assert "no file of a dataset 'nowhere'" in str(missing.exception)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("folder", "prepare folder:NAME SOURCE"),
        ("folder:covid-qu-ex", "registered dataset"),
        ("folder:../x", "lower-case letters"),
        ("pneumonia-mnist", "needs no preparation"),
        ("nothing", "no dataset is called 'nothing'"),
    ],
)
def test_names_that_cannot_be_prepared(tmp_path: Path, name: str, reason: str) -> None:
    done = medbench(tmp_path, "data", "prepare", name, tmp_path)
    assert isinstance(done.exception, MedbenchError)
    assert reason in str(done.exception)

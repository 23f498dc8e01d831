"""Submissions: what is accepted, what is refused and why, and what a workflow checks again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import tomlkit
from commandline import Ended, Finished, medbench, tiny_protocol

import medbench as package
from medbench.submitting import SIGN_OFF

WHO = ("--author", "A. Doe, Some University", "--sign-off")


def submit(folder: Path, results: Path, *more: str) -> Ended:
    return medbench("submit", "--results", results, "--name", "mine", *WHO, *more, cwd=folder)


def check(folder: Path) -> Ended:
    return medbench("submit", "--check", folder / "submissions" / "mine")


@pytest.fixture(scope="module")
def submitted(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("board")
    ended = submit(folder, finished.results)
    assert ended.status == 0, ended
    assert "open a pull request that adds this folder" in ended.out
    return folder


@pytest.fixture
def copy(submitted: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(submitted, tmp_path / "copy"))


def test_the_folder_says_what_the_runs_say(submitted: Path, finished: Finished) -> None:
    about = tomlkit.parse((submitted / "submissions" / "mine" / "submission.toml").read_text())
    loaded = package.load(finished.results)
    assert (about["protocol"], about["runs"], about["runs_without_record"]) == ("tiny", 8, 0)
    assert about["registration"] == loaded.registrations[0][-1].hash
    assert about["oracle"] == ["co-teaching"]
    assert (about["packages"], about["foreign_weights"]) == ([], [])
    assert about["sign_off"] == SIGN_OFF
    assert check(submitted).status == 0


def test_programs_read_what_is_in_the_way(finished: Finished, tmp_path: Path) -> None:
    about = submit(tmp_path, finished.results, "--json").json
    assert about == {"path": "submissions/mine", "accepted": True, "problems": []}
    (tmp_path / "submissions" / "mine" / "submission.toml").unlink()
    ended = medbench("submit", "--check", tmp_path / "submissions" / "mine", "--json")
    assert (ended.status, ended.json["accepted"], len(ended.json["problems"])) == (1, False, 1)


def test_evaluations_hold_the_mean_over_seeds(submitted: Path, finished: Finished) -> None:
    """The required fields of the schema; tools of its authors check all of it."""
    runs = package.load(finished.results).runs
    files = sorted((submitted / "submissions" / "mine" / "evaluations").iterdir())
    assert len(files) == 4
    for file in files:
        values = json.loads(file.read_text())
        needed = {
            "schema_version", "evaluation_id", "retrieved_timestamp", "source_metadata",
            "model_info", "eval_library", "evaluation_results",
        }  # fmt: skip
        assert set(values) == needed
        about = values["model_info"]["additional_details"]
        own = runs[(runs["pretext"] == about["pretext"]) & (runs["method"] == about["method"])]
        (result,) = values["evaluation_results"]
        scores = own["last_balanced_accuracy"]
        assert result["score_details"]["score"] == pytest.approx(scores.mean())
        error = result["score_details"]["uncertainty"]["standard_error"]["value"]
        assert error == pytest.approx(scores.std() / 2**0.5)
        assert about["oracle"] == ("yes" if about["method"] == "co-teaching" else "no")


def _spoil_toml(key: str, value: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "submission.toml"
        about = tomlkit.parse(path.read_text())
        about[key] = value
        path.write_text(tomlkit.dumps(about))

    return change


def _spoil_bundle(folder: Path) -> None:
    path = folder / "results.medbench.zip"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


SPOILT = {
    "oracle hidden": (_spoil_toml("oracle", []), "oracle is []"),
    "other runs": (_spoil_toml("runs", 7), "runs is 7, the bundle says 8"),
    "not signed": (_spoil_toml("sign_off", "sure"), "not signed off"),
    "withdrawn without a reason": (_spoil_toml("status", "withdrawn"), "gives its reason"),
    "renamed": (_spoil_toml("name", "other"), "name is 'other'"),
    "byte changed": (_spoil_bundle, "not a sound bundle"),
    "no packages told": (_spoil_toml("packages", "none"), "submissions/mine"),
}


@pytest.mark.parametrize(("spoil", "said"), SPOILT.values(), ids=SPOILT)
def test_what_was_changed_is_found(spoil: Callable[[Path], None], said: str, copy: Path) -> None:
    spoil(copy / "submissions" / "mine")
    ended = check(copy)
    assert ended.status == 1
    assert said in ended.out, ended.out


def test_a_withdrawn_submission_stays_and_is_sound(copy: Path) -> None:
    _spoil_toml("status", "withdrawn")(copy / "submissions" / "mine")
    _spoil_toml("reason", "an error in our loss")(copy / "submissions" / "mine")
    assert check(copy).status == 0


def test_what_is_not_whole_or_signed_is_refused(finished: Finished, tmp_path: Path) -> None:
    unsigned = medbench(
        "submit", "--results", finished.results, "--name", "mine", "--author", "A", cwd=tmp_path
    )
    assert unsigned.status == 2 and SIGN_OFF in unsigned.err
    results = finished.copy(tmp_path)
    record = sorted((results / "runs").rglob("*.h5"))[0]
    record.unlink()
    ended = submit(tmp_path, results)
    assert ended.status == 1
    assert "1 planned run are not done" not in ended.out
    assert "1 planned run is not done, first" in ended.out
    assert not (tmp_path / "submissions").exists()


PLUGIN = """
from medbench_plugins.methods.cross_entropy import CrossEntropy


class Mine(CrossEntropy):
    \"\"\"Cross-entropy by another name.\"\"\"
"""


def test_a_plugin_that_is_no_package_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN)
    (tmp_path / "one.toml").write_text(tiny_protocol(methods=["mine"], name="one"))
    ended = medbench(
        *("run", "--all", "--protocol", "one.toml", "--plugin", "mine.py", "--device", "cpu"),
        cwd=tmp_path,
    )
    assert ended.status == 0, ended.err
    refused = submit(tmp_path, tmp_path / "medbench-results" / "one")
    assert refused.status == 1
    assert "mine.py is a file or folder, not an installed package" in refused.out

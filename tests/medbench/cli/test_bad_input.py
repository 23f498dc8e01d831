"""Bad input: one line on stderr that says what is wrong and what to do; nothing is lost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from commandline import (
    Ended,
    Finished,
    content,
    install,
    medbench,
    medbench_apart,
    tiny_protocol,
)

TINY = tiny_protocol()
RUN_TINY = ("run", "--all", "--protocol", "tiny.toml", "--results", "results", "--device", "cpu")


def assert_refused(ended: Ended, *words: str, status: int = 2) -> None:
    """Check that the error is one line and contains each of ``words``."""
    assert ended.status == status, ended
    assert ended.out == ""
    assert ended.err.endswith("\n")
    (line,) = ended.err.splitlines()
    assert line.startswith("medbench: ")
    for word in words:
        assert word in line
    assert len(line) < 500


def changed(old: str, new: str) -> str:
    """Return the tiny protocol with one change."""
    assert TINY.count(old) == 1, old
    return TINY.replace(old, new)


PROTOCOLS = {
    "unknown key": (
        changed("[training]\nepochs = 2", "[training]\nepoch = 2"),
        ["tiny.toml", "training.epoch", "unknown key", "did you mean epochs?"],
    ),
    "unknown table": (TINY + "[trianing]\n", ["tiny.toml", "trianing", "training"]),
    "missing key": (changed("seeds = [0]", ""), ["tiny.toml", "grid.seeds", "missing"]),
    "not TOML": (changed('name = "tiny"', "name = tiny"), ["tiny.toml", "TOML", "line 1"]),
    "rate above 1": (changed("[0.25]", "[1.5]"), ["tiny.toml", "grid.rates", "1", "1.5"]),
    "rate below 0": (changed("[0.25]", "[-0.1]"), ["tiny.toml", "grid.rates", "0", "-0.1"]),
    "rate no number": (changed("[0.25]", '["much"]'), ["tiny.toml", "grid.rates", "much"]),
    "rate twice": (changed("[0.25]", "[0.25, 0.25]"), ["grid.rates", "0.25", "twice"]),
    "empty axis": (changed("seeds = [0]", "seeds = []"), ["tiny.toml", "grid.seeds"]),
    "unknown dataset": (
        changed("pneumonia-mnist", "pneumonia-mist"),
        ["no dataset is called 'pneumonia-mist'", "did you mean 'pneumonia-mnist'?"],
    ),
    "unknown noise": (changed('"symmetric"', '"symetric"'), ["grid.noise: no noise", "symmetric"]),
    "unknown pretext": (changed('"none"', '"rotations"'), ["no pretext", "rotation"]),
    "unknown method": (
        changed('"cross-entropy"', '"divide-mix"'),
        ["no method is called 'divide-mix'", "dividemix"],
    ),
    "unknown backbone": (changed('"narrow"', '"narow"'), ["no backbone", "narrow"]),
    "unknown setting": (
        TINY + "[methods.cross-entropy]\nsmoothing = 0.1\n",
        ["methods.cross-entropy", "smoothing", "unknown key"],
    ),
    "unknown preset": (
        TINY + '[methods.cross-entropy]\npreset = "fast"\n',
        ["methods.cross-entropy", "preset", "fast"],
    ),
    "setting out of range": (
        changed("width = 8", "width = -8"),
        ["backbone", "width", "-8"],
    ),
    "table of nobody": (
        TINY + "[methods.dividemix]\nwarmup_epochs = 1\n",
        ["methods.dividemix", "grid", "cross-entropy"],
    ),
    "too many images asked for": (changed("size = 16", "size = 4"), ["images.size", "4"]),
}


@pytest.mark.parametrize(("text", "words"), PROTOCOLS.values(), ids=PROTOCOLS)
def test_bad_protocols(tmp_path: Path, text: str, words: list[str]) -> None:
    (tmp_path / "tiny.toml").write_text(text)
    assert_refused(medbench(*RUN_TINY, cwd=tmp_path), *words)
    assert not (tmp_path / "results").exists(), "nothing is made before all is checked"


def test_a_protocol_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_bytes(b"\xff\xfe\x00")
    assert_refused(medbench(*RUN_TINY, cwd=tmp_path), "tiny.toml")


COMMANDS = {
    "unknown protocol": (["run", "--all", "--protocol", "quik"], ["'quik'", "'quick'"]),
    "no such file": (["run", "--all", "--protocol", "my/own.toml"], ["my/own.toml"]),
    "nothing chosen": (["run"], ["--all", "--method"]),
    "rate not in the protocol": (["run", "--rate", "0.9"], ["rate 0.9", "0.4", "0.5"]),
    "rate outside [0, 1]": (["run", "--rate", "1.5"], ["rate 1.5", "0.4", "0.5"]),
    "method not in the protocol": (["run", "--method", "dividmix"], ["dividmix", "dividemix"]),
    "seed not in the protocol": (["run", "--seed", "7"], ["seed 7", "0", "1"]),
    "rate no number": (["run", "--rate", "much"], ["--rate", "much", "medbench run --help"]),
    "no jobs": (["run", "--all", "--jobs", "0"], ["--jobs", "medbench run --help"]),
    "timeout 0": (["run", "--all", "--timeout", "0"], ["--timeout"]),
    "unknown device": (["run", "--all", "--device", "tpu"], ["tpu", "cuda"]),
    "unknown option": (["run", "--al"], ["--al", "medbench run --help"]),
    "unknown command": (["runn"], ["runn", "medbench --help"]),
    "unknown format": (["results", "--format", "xml"], ["xml", "csv", "json"]),
    "no results yet": (["status"], ["medbench run --all", "--results"]),
    "no results folder": (["verify", "--results", "."], ["no results folder", "--results"]),
    "unknown kind": (["list", "metod"], ["metod", "method", "dataset"]),
    "unknown name": (["show", "method", "coteaching"], ["coteaching", "co-teaching"]),
    "unknown shown protocol": (["show", "protocol", "smok"], ["smok", "smoke"]),
    "estimate without use": (
        ["run", "--all", "--estimate-from", "nothing"],
        ["--estimate-from needs --dry-run"],
    ),
    "missing name": (["show", "method"], ["NAME", "medbench show --help"]),
}


@pytest.mark.parametrize(("arguments", "words"), COMMANDS.values(), ids=COMMANDS)
def test_bad_commands(tmp_path: Path, arguments: list[str], words: list[str]) -> None:
    assert_refused(medbench(*arguments, cwd=tmp_path), *words)
    assert list(tmp_path.iterdir()) == []


def test_no_gpu_where_one_was_asked_for(tmp_path: Path) -> None:
    import torch

    device = "cuda:97" if torch.cuda.is_available() else "cuda"
    (tmp_path / "tiny.toml").write_text(TINY)
    ended = medbench(*RUN_TINY[:-1], device, cwd=tmp_path)
    assert_refused(ended, f"--device {device}", "--device cpu", "medbench doctor")
    assert not (tmp_path / "results").exists()


def test_data_that_is_not_prepared(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(changed("pneumonia-mnist", "nct-crc-he-100k"))
    cache = tmp_path / "a cache"
    ended = medbench(*RUN_TINY, "--cache", cache, cwd=tmp_path)
    command = f"medbench data prepare nct-crc-he-100k SOURCE --cache '{cache}'"
    assert_refused(ended, "nct-crc-he-100k", command)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.toml"]


@pytest.mark.parametrize(
    "command",
    [
        ("status",),
        ("results",),
        ("verify",),
        ("leaderboard",),
        ("run", "--all"),
        ("run", "--dry-run"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize(
    ("marker", "words"),
    [
        pytest.param({"format": 99, "protocol": "tiny"}, ["newer", "update"], id="newer version"),
        pytest.param(None, ["medbench.json", "restore", "--results"], id="damaged marker"),
    ],
)
def test_results_of_a_newer_version_or_with_a_damaged_marker(
    finished: Finished,
    tmp_path: Path,
    command: tuple[str, ...],
    marker: object,
    words: list[str],
) -> None:
    copy = finished.copy(tmp_path)
    (copy / "medbench.json").write_text(json.dumps(marker) if marker else '{"form')
    before = content(copy)
    if command[0] == "run":
        command = (*command, "--protocol", str(finished.file), "--device", "cpu")
    assert_refused(medbench(*command, "--results", copy), str(copy), *words)
    assert content(copy) == before


@pytest.mark.parametrize("command", [("run", "--all"), ("run", "--dry-run")], ids=" ".join)
def test_results_of_another_protocol(
    finished: Finished, tmp_path: Path, command: tuple[str, ...]
) -> None:
    (tmp_path / "tiny.toml").write_text(tiny_protocol(name="other"))
    before = content(finished.results)
    ended = medbench(
        *(*command, "--protocol", tmp_path / "tiny.toml", "--results", finished.results),
        *("--device", "cpu"),
    )
    assert_refused(ended, "'tiny'", "'other'", "--results")
    assert content(finished.results) == before


def test_a_folder_with_other_files(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(TINY)
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "thesis.txt").write_text("the only copy")
    assert_refused(medbench(*RUN_TINY, cwd=tmp_path), "results", "--results")
    assert list(content(tmp_path / "results")) == ["thesis.txt"]


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(TINY)
    (tmp_path / "results").write_text("the only copy")
    assert_refused(medbench(*RUN_TINY, cwd=tmp_path), "results", "file")
    assert (tmp_path / "results").read_text() == "the only copy"


def test_a_file_that_is_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<p>a board</p>")
    shown = medbench("leaderboard", "--results", "index.html", cwd=tmp_path)
    assert_refused(shown, "index.html is not a sound bundle")


def test_a_bundle_where_a_folder_is_needed(finished: Finished, tmp_path: Path) -> None:
    file = tmp_path / "mine.zip"
    assert medbench("bundle", "--results", finished.results, "--out", file).status == 0
    for command in ("status", "submit"):
        words = ("--name", "n", "--author", "a", "--sign-off") if command == "submit" else ()
        assert_refused(medbench(command, "--results", file, *words), "may be a bundle: unpack it")


def test_results_are_json_by_either_option(finished: Finished) -> None:
    shown = medbench("results", "--results", finished.results, "--json")
    other = medbench("results", "--results", finished.results, "--format", "json")
    assert shown.json == other.json and len(shown.json) == 8


def unwritable(folder: Path) -> Path:
    """Return a place where nothing can be made, also for root."""
    folder.mkdir()
    folder.chmod(0o555)
    try:
        (folder / "probe").touch()
    except PermissionError:
        return folder
    (folder / "probe").unlink()
    return Path("/proc/self")


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(TINY)
    place = unwritable(tmp_path / "locked") / "results"
    ended = medbench(*RUN_TINY[:4], "--results", place, "--device", "cpu", cwd=tmp_path)
    assert_refused(ended, str(place), "cannot be written", "--results")


def test_outputs_that_cannot_be_written(finished: Finished, tmp_path: Path) -> None:
    place = unwritable(tmp_path / "locked") / "out"
    before = content(finished.results)
    ended = medbench("results", "--results", finished.results, "--format", "csv", "--out", place)
    assert_refused(ended, str(place), "cannot be written")
    ended = medbench("leaderboard", "--results", finished.results, "--out", place)
    assert_refused(ended, str(place))
    assert content(finished.results) == before


def test_parquet_wants_a_file(finished: Finished) -> None:
    assert_refused(
        medbench("results", "--results", finished.results, "--format", "parquet"), "--out"
    )


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:3000])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def overwrite(path: Path) -> None:
    path.write_text("this is no HDF5 file\n" * 100)


@pytest.mark.parametrize("spoil", [truncate, empty, overwrite])
def test_an_unreadable_record_is_named_by_every_command_and_left_alone(
    finished: Finished, first_record: tuple[Path, Path], spoil: Callable[[Path], None]
) -> None:
    copy, path = first_record
    spoil(path)
    before = content(copy)

    status = medbench("status", "--results", copy, "--json")
    assert status.status == 1
    assert (status.json["done"], status.json["unreadable"]) == (7, 1)
    (trouble,) = status.json["troubles"]
    assert trouble["run_key"] == path.stem
    assert path.name in trouble["reason"]
    assert "move it away and run again" in trouble["reason"]

    results = medbench("results", "--results", copy, "--format", "json")
    assert results.status == 1
    states = {row["run_key"]: row["status"] for row in results.json}
    assert [key for key, state in states.items() if state != "done"] == [path.stem]
    (line,) = results.err.splitlines()
    assert path.name in line

    verify = medbench("verify", "--results", copy, "--json")
    assert verify.status == 1
    assert [fault["file"] for fault in verify.json["faults"]] == [str(path.relative_to(copy))]

    run = finished.again(copy, "--json")
    assert run.status == 1
    assert "Nothing to do" not in run.err
    assert path.name in run.err
    assert run.json["unreadable"] == 1
    assert run.json["done_before"] == 7

    after = content(copy)
    assert {n for n in before if before[n] != after.get(n)} <= {
        name for name in before if name.startswith("board/")
    }


def test_a_record_moved_away_is_made_again_the_same(
    finished: Finished, first_record: tuple[Path, Path], tmp_path: Path
) -> None:
    """What the message of an unreadable record tells the user to do works."""
    copy, path = first_record
    whole = medbench("results", "--results", copy, "--format", "json").json
    path.rename(tmp_path / "away.h5")
    run = finished.again(copy, "--json")
    assert run.status == 0
    assert (run.json["done_before"], run.json["done_now"]) == (7, 1)
    assert medbench("results", "--results", copy, "--format", "json").json == whole


def test_truncated_weights_fail_the_runs_that_need_them(finished: Finished, tmp_path: Path) -> None:
    copy = finished.copy(tmp_path)
    weights = sorted((copy / "pretrainings").rglob("*.safetensors"))[0]
    truncate(weights)
    shutil.rmtree(copy / "runs")
    run = finished.again(copy, "--json")
    assert run.status == 1
    assert (run.json["done_now"], run.json["failed"]) == (6, 2)
    assert weights.name in run.err
    assert weights.stat().st_size == 3000, "left as it was found"
    verify = medbench("verify", "--results", copy, "--json")
    assert [fault["file"] for fault in verify.json["faults"]] == [str(weights.relative_to(copy))]


def test_damaged_small_files(finished: Finished, tmp_path: Path) -> None:
    copy = finished.copy(tmp_path)
    (copy / "plan.json").write_text('[{"key"')
    for command in ("status", "results", "leaderboard"):
        assert_refused(medbench(command, "--results", copy), "plan.json", "medbench run")
    assert finished.again(copy).status == 0, "which is how it is fixed"
    assert medbench("status", "--results", copy).status == 0

    (copy / "attempts" / "ab").mkdir(parents=True)
    (copy / "attempts" / "ab" / "abc.1.json").write_text("{")
    assert_refused(medbench("status", "--results", copy), "abc.1.json", "remove it")


def test_several_results_folders_and_none_chosen(finished: Finished, tmp_path: Path) -> None:
    for name in ("one", "two"):
        shutil.copytree(finished.results, tmp_path / "medbench-results" / name)
    ended = medbench("status", cwd=tmp_path)
    assert_refused(ended, "one", "two", "--results")
    shutil.rmtree(tmp_path / "medbench-results" / "two")
    assert medbench("status", cwd=tmp_path).status == 0


BROKEN_DATASET = """
from medbench import Plugin, hookimpl
from medbench.interfaces import Dataset

class Broken(Dataset):
    def card(self, context):
        raise ZeroDivisionError("no images per class")
    def open(self, context):
        raise NotImplementedError

@hookimpl
def medbench_datasets():
    return [Plugin(name="broken-shapes", target="broken_shapes:Broken", summary="", interface=1)]
"""


def test_a_third_partys_fault_is_one_line_and_hides_no_other(tmp_path: Path) -> None:
    site = tmp_path / "site"
    files = {"broken_shapes.py": BROKEN_DATASET, "broken_import.py": "import no_such_module\n"}
    points = {"shapes": "broken_shapes", "import": "broken_import"}
    install(site, "medbench-broken", "0.1", points, files)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        rows = {row["name"]: row for row in medbench("data", "list", "--json").json}
        assert rows["broken-shapes"]["state"] == "broken"
        assert "ZeroDivisionError: no images per class" in rows["broken-shapes"]["fix"]
        assert "medbench-broken" in rows["broken-shapes"]["fix"]
        assert rows["pneumonia-mnist"]["state"] == "ready"

        doctor = medbench("doctor", "--json")
        assert doctor.status == 1
        faults = [finding for finding in doctor.json if finding["state"] == "fault"]
        assert {fault["what"] for fault in faults} == {"plugin import", "dataset broken-shapes"}

        plugins = medbench("list", "plugins", "--json").json
        (broken,) = (row for row in plugins if row["state"] != "ok")
        assert broken["from"] == "medbench-broken"
        assert "no_such_module" in broken["state"]

        (tmp_path / "tiny.toml").write_text(changed("pneumonia-mnist", "broken-shapes"))
        ended = medbench(*RUN_TINY, cwd=tmp_path)
        assert_refused(ended, "ZeroDivisionError: no images per class", "--debug")


@pytest.mark.parametrize("debug", [False, True])
def test_a_traceback_appears_with_debug_only(tmp_path: Path, debug: bool) -> None:
    option = ["--debug"] if debug else []
    ended = medbench_apart(*option, "show", "method", "coteaching", cwd=tmp_path)
    assert ended.status == 2
    assert ended.out == ""
    assert ended.err.splitlines()[-1].startswith("medbench: no method is called 'coteaching'")
    assert ("Traceback (most recent call last)" in ended.err) == debug
    assert debug or len(ended.err.splitlines()) == 1

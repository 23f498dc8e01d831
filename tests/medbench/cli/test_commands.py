"""Commands on a finished grid: what they print is what the records hold."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path

import click
import h5py
import numpy as np
import pytest
from commandline import Finished, content, medbench
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from sklearn.metrics import balanced_accuracy_score

import medbench_plugins
from medbench.cli import cli
from medbench.plugins.registry import discover
from medbench.protocol.shipped import protocol_paths
from medbench.store.records import make_record, read_record, write_record
from medbench.store.results import ResultsFolder
from medbench.store.status import run_statuses

AXES = ("dataset", "noise", "rate", "pretext", "method", "seed")
SHIPPED = protocol_paths(discover())


def rows_of(finished: Finished) -> list[dict[str, object]]:
    return medbench("results", "--results", finished.results, "--format", "json").json


# --- run -------------------------------------------------------------------------------------


def test_run_says_what_it_did_and_where_the_board_is(finished: Finished) -> None:
    err = finished.ended.err
    assert "8 runs and 2 pretrainings to do, 2 at once on cpu" in err
    assert "8 runs done now, 0 before, 0 failed, 0 skipped, of 8." in err
    for name in ("index.html", "leaderboard.csv"):
        assert str(finished.results / "board" / name) in err
        assert (finished.results / "board" / name).stat().st_size > 0
    assert len(re.findall(r"^\[ *\d+/10\] done ", err, re.MULTILINE)) == 10, "a line a job"
    for word in ("rotation", "none", "cross-entropy", "co-teaching"):
        assert word in finished.ended.out, "the table ranks the entrants"
    assert max(map(len, finished.ended.out.splitlines())) <= 100


def test_a_second_run_does_nothing_and_says_so(finished: Finished) -> None:
    before = {
        path: path.stat().st_mtime_ns
        for folder in ("runs", "pretrainings", "logs", "board")
        for path in (finished.results / folder).rglob("*")
    }
    assert len(before) > 20
    ended = finished.again()
    assert ended.status == 0
    assert ended.out == ""
    assert ended.err.splitlines()[0] == "Nothing to do: all 8 runs are done."
    assert {path: path.stat().st_mtime_ns for path in before} == before

    counts = finished.again(None, "--json")
    assert {name: counts.json[name] for name in ("runs", "done_before", "done_now", "failed")} == {
        "runs": 8,
        "done_before": 8,
        "done_now": 0,
        "failed": 0,
    }
    assert Path(counts.json["board"]).is_dir()


def test_a_part_of_a_protocol(finished: Finished, tmp_path: Path) -> None:
    """Done into a folder of its own, a part has the digests of the whole."""
    ended = medbench(
        *("run", "--protocol", finished.file, "--results", tmp_path / "part", "--device", "cpu"),
        *("--method", "co-teaching", "--pretext", "none", "--seed", "1", "--json"),
    )
    assert ended.status == 0
    assert (ended.json["runs"], ended.json["done_now"]) == (1, 1)
    whole = {row["run_key"]: row["digest"] for row in rows_of(finished)}
    results = ResultsFolder.open(tmp_path / "part")
    (state,) = (state for state in run_statuses(results) if state.status == "done")
    digest = read_record(results.record_path(state.run.key)).header.digest
    assert digest == whole[state.run.key]
    pending = medbench("status", "--results", tmp_path / "part", "--json")
    assert pending.status == 0, "a run still to do is no trouble"
    assert (pending.json["done"], pending.json["pending"]) == (1, 7)


# what curricula span is counted by hand in tests/medbench/protocol/test_protocol_files.py
@pytest.mark.parametrize(
    "name", [n for n, f in SHIPPED.items() if "steps = [" not in f.read_text()]
)
def test_dry_run_of_every_protocol_that_ships(name: str, tmp_path: Path) -> None:
    """Counted here from the protocol's text; needs no data that is not embedded."""
    ended = medbench(
        *("run", "--all", "--protocol", name, "--dry-run", "--json"),
        *("--cache", tmp_path / "cache"),
        cwd=tmp_path,
    )
    assert ended.status == 0, ended.err
    values = tomllib.loads(SHIPPED[name].read_text())
    grids = values["grid"] if isinstance(values["grid"], list) else [values["grid"]]
    known = {
        axis: [row["name"] for row in medbench("list", axis, "--json").json]
        for axis in ("datasets", "noise", "pretexts", "methods")
    }
    points = {
        (dataset, noise, rate, pretext, method, seed, acquisition)
        for grid in grids
        for dataset in (known["datasets"] if grid["datasets"] == "*" else grid["datasets"])
        for noise in (known["noise"] if grid["noise"] == "*" else grid["noise"])
        for rate in grid["rates"]
        for pretext in (known["pretexts"] if grid["pretexts"] == "*" else grid["pretexts"])
        for method in (known["methods"] if grid["methods"] == "*" else grid["methods"])
        for seed in grid["seeds"]
        for acquisition in ("", *grid.get("acquisitions", ()))
    }
    assert ended.json["runs"] == ended.json["to_do"] == len(points)
    assert ended.json["done"] == 0
    for index, axis in enumerate(AXES):
        assert ended.json["grid"][axis] == len({point[index] for point in points})
    variants = values.get("datasets", {})
    for dataset, cure in ended.json["not_prepared"].items():
        plugin = variants.get(dataset, {}).get("plugin", dataset)  # variants share its file
        assert re.search(rf"medbench data prepare ((\S+:)?{dataset}|{plugin}) ", cure)
    assert list(tmp_path.iterdir()) == [], "a dry run leaves nothing"
    plain = medbench("run", "--protocol", name, "--dry-run", cwd=tmp_path)
    assert f"{len(points)} runs: 0 done, 0 failed, {len(points)} to do" in plain.out


def test_the_papers_grid_is_planned_without_its_data(tmp_path: Path) -> None:
    ended = medbench(
        *("run", "--protocol", "khanal2023", "--dry-run", "--json", "--cache", tmp_path),
        cwd=tmp_path,
    )
    # (2 datasets x 4 rates, 2 by the other convention) x 5 pretexts x 5 methods x 5 seeds
    assert ended.json["runs"] == (2 * 4 + 2) * 5 * 5 * 5
    assert ended.json["pretrainings"] == 2 * 4 * 5
    assert set(ended.json["not_prepared"]) == {"nct-crc-he-100k", "covid-qu-ex"}


def test_dry_run_of_a_finished_grid(finished: Finished) -> None:
    before = content(finished.results)
    ended = finished.again(None, "--dry-run", "--json")
    assert (ended.json["done"], ended.json["to_do"], ended.json["pretrainings_to_do"]) == (8, 0, 0)
    assert content(finished.results) == before


# --- status and results ----------------------------------------------------------------------


def test_status(finished: Finished) -> None:
    ended = medbench("status", "--results", finished.results, "--json")
    assert ended.status == 0
    assert ended.json["protocol"] == "tiny"
    assert (ended.json["runs"], ended.json["done"], ended.json["troubles"]) == (8, 8, [])
    plain = medbench("status", "--results", finished.results)
    assert "8/8 runs" in plain.out
    assert "8 done" in plain.out.splitlines()


def test_results_as_json_hold_key_status_digest_and_axes(finished: Finished) -> None:
    rows = rows_of(finished)
    assert isinstance(rows, list)
    expected = {
        ("pneumonia-mnist", "symmetric", 0.25, pretext, method, seed)
        for pretext in ("none", "rotation")
        for method in ("cross-entropy", "co-teaching")
        for seed in (0, 1)
    }
    assert len(rows) == 8
    assert {tuple(row[axis] for axis in AXES) for row in rows} == expected
    for row in rows:
        assert row["status"] == "done"
        assert re.fullmatch("[0-9a-f]{64}", str(row["run_key"]))
        assert re.fullmatch("[0-9a-f]{64}", str(row["digest"]))
        assert (finished.results / "runs").joinpath(f"{row['run_key']}"[:2]).is_dir()
    assert len({row["digest"] for row in rows}) == 8


def test_results_hold_what_the_stored_predictions_give(finished: Finished) -> None:
    """Recomputed with scikit-learn from the arrays of each record."""
    results = ResultsFolder.open(finished.results)
    for row in rows_of(finished):
        arrays = read_record(results.record_path(str(row["run_key"]))).arrays
        by_epoch = [
            balanced_accuracy_score(arrays["test/labels"], epoch.argmax(axis=1))
            for epoch in arrays["test/probabilities"]
        ]
        assert len(by_epoch) == 2
        assert row["last_balanced_accuracy"] == pytest.approx(np.mean(by_epoch))
        assert row["best_balanced_accuracy"] == pytest.approx(max(by_epoch))
        assert row["selected_balanced_accuracy"] in [pytest.approx(value) for value in by_epoch]
        wrong = arrays["train/clean_labels"] != arrays["train/noisy_labels"]
        assert row["realised_rate"] == pytest.approx(wrong.mean())


def test_results_as_csv_say_the_same(finished: Finished, tmp_path: Path) -> None:
    text = medbench("results", "--results", finished.results, "--format", "csv").out
    rows = list(csv.DictReader(io.StringIO(text)))
    for row, expected in zip(rows, rows_of(finished), strict=True):
        assert list(row) == list(expected)
        for name, value in expected.items():
            assert row[name] == ("" if value is None else str(value))
    out = tmp_path / "runs.csv"
    medbench("results", "--results", finished.results, "--format", "csv", "--out", out)
    assert out.read_text() == text
    out = tmp_path / "runs.json"
    medbench("results", "--results", finished.results, "--format", "json", "--out", out)
    assert json.loads(out.read_text()) == rows_of(finished)


def test_results_as_a_table(finished: Finished) -> None:
    text = medbench("results", "--results", finished.results).out
    for row in rows_of(finished):
        (line,) = (line for line in text.splitlines() if line.startswith(str(row["run_key"])[:8]))
        assert line.split()[1:8] == [*(str(row[axis]) for axis in AXES), "done"], "nothing is cut"


def test_leaderboard_counts_every_run(finished: Finished, tmp_path: Path) -> None:
    ended = medbench("leaderboard", "--results", finished.results, "--out", tmp_path, "--json")
    assert ended.status == 0
    assert all(Path(path).is_file() for path in ended.json["files"].values())
    rows = list(csv.DictReader((tmp_path / "runs.csv").open()))
    assert len(rows) == 8


# --- verify ----------------------------------------------------------------------------------


def edit_prediction(path: Path) -> Path:
    with h5py.File(path, "r+") as file:
        predictions = file["test/probabilities"]
        value = predictions[1, 3]
        predictions[1, 3] = value[::-1]
    return path


def edit_header(path: Path) -> Path:
    """Put a better score in the header, with everything else as it was."""
    with h5py.File(path, "r+") as file:
        header = json.loads(file["header"][()].tobytes())
        header["summary"]["readings"]["last"]["balanced_accuracy"] = 0.99
        del file["header"]
        file["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    return path


def forge(path: Path) -> Path:
    """Edit a score and recompute the digest: only recomputing finds this."""

    record = read_record(path)
    header = record.header
    summary = json.loads(json.dumps(header.summary))
    summary["readings"]["last"]["balanced_accuracy"] = 0.99
    forged = make_record(
        header.key, header.axes, header.spec, summary, record.arrays, header.metadata
    )
    path.unlink()  # what is there would stay
    write_record(path, forged)
    return path


def forge_prediction(path: Path) -> Path:
    """Edit one image's prediction in one epoch and recompute the digest."""
    record = read_record(path)
    header, arrays = record.header, dict(record.arrays)
    predictions = arrays["test/probabilities"].copy()
    predictions[1, 3] = predictions[1, 3][::-1]
    arrays["test/probabilities"] = predictions
    path.unlink()
    write_record(
        path,
        make_record(header.key, header.axes, header.spec, header.summary, arrays, header.metadata),
    )
    return path


def truncate(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-100])
    return path


def flip_bits(path: Path) -> Path:
    """Damage the compressed predictions themselves."""
    whole = bytearray(path.read_bytes())
    with h5py.File(path) as file:
        place = file["test/probabilities"].id.get_chunk_info(0).byte_offset
    whole[place + 10] ^= 0xFF
    path.write_bytes(whole)
    return path


def rename(path: Path) -> Path:
    key = ("0" if path.stem[-1] != "0" else "1").join([path.stem[:-1], ""])
    return path.rename(path.with_stem(key))


@pytest.mark.parametrize(
    "spoil",
    [edit_prediction, forge_prediction, edit_header, forge, truncate, flip_bits, rename],
)
def test_verify_names_the_record_that_is_not_what_it_was(
    first_record: tuple[Path, Path], spoil: Callable[[Path], Path]
) -> None:
    copy, path = first_record
    assert medbench("verify", "--results", copy).status == 0
    spoilt = spoil(path)
    ended = medbench("verify", "--results", copy, "--json")
    assert ended.status == 1
    assert ended.json["checked"] == 10
    (fault,) = ended.json["faults"]
    assert fault["file"] == str(spoilt.relative_to(copy))
    assert fault["fault"]
    plain = medbench("verify", "--results", copy)
    assert plain.status == 1
    assert str(spoilt.relative_to(copy)) in plain.out
    assert "10 files checked, 1 at fault" in plain.out


def test_verify_names_weights_that_are_not_what_they_were(
    finished: Finished, tmp_path: Path
) -> None:
    copy = finished.copy(tmp_path)
    path = sorted((copy / "pretrainings").rglob("*.safetensors"))[0]
    weights = load_file(path)
    next(array for array in weights.values() if array.ndim > 1)[0] += 1
    with safe_open(path, "numpy") as file:
        save_file(weights, path, file.metadata())
    ended = medbench("verify", "--results", copy, "--json")
    assert [fault["file"] for fault in ended.json["faults"]] == [str(path.relative_to(copy))]


# --- list, show, data, doctor ----------------------------------------------------------------


def test_list_names_every_plugin_and_protocol() -> None:
    listed = medbench("list", "--json").json
    for axis, hook in {
        "datasets": medbench_plugins.medbench_datasets,
        "noise": medbench_plugins.medbench_noise_models,
        "pretexts": medbench_plugins.medbench_pretexts,
        "methods": medbench_plugins.medbench_methods,
        "backbones": medbench_plugins.medbench_backbones,
    }.items():
        announced = {plugin.name for plugin in hook()}
        assert {row["name"] for row in listed[axis] if row["from"] == "medbench"} == announced
        assert announced <= set(medbench("list", axis).out.split())
    assert {"quick", "smoke", "khanal2023"} <= {
        row["name"] for row in medbench("list", "protocols", "--json").json
    }
    plain = medbench("list").out
    assert all(row["name"] in plain for rows in listed.values() for row in rows)


def test_list_plugins_says_where_each_comes_from() -> None:
    rows = medbench("list", "plugins", "--json").json
    assert {row["state"] for row in rows} == {"ok"}
    assert {row["kind"] for row in rows} >= {"dataset", "noise", "pretext", "method", "backbone"}
    assert all(row["version"] and row["target"] for row in rows)


@pytest.mark.parametrize("kind", ["dataset", "noise", "pretext", "method", "backbone"])
def test_show_describes_every_plugin(kind: str) -> None:
    for row in medbench("list", kind, "--json").json:
        shown = medbench("show", kind, row["name"], "--json").json
        assert (shown["kind"], shown["name"]) == (kind, row["name"])
        assert shown["description"]
        assert all(setting["description"] for setting in shown["settings"]), row["name"]
        assert medbench("show", kind, row["name"]).out.startswith(f"{kind} {row['name']}")


def test_show_a_protocol_prints_its_file() -> None:
    assert medbench("show", "protocol", "quick").out == SHIPPED["quick"].read_text()
    shown = medbench("show", "protocol", "quick", "--json").json
    assert shown["name"] == "quick"


def test_data_list(tmp_path: Path) -> None:
    rows = {
        row["name"]: row for row in medbench("data", "list", "--json", "--cache", tmp_path).json
    }
    assert rows["covid-qu-ex-mini"]["state"] == "ready"
    assert sum(rows["covid-qu-ex-mini"]["card"]["split_sizes"].values()) == 5826
    assert rows["nct-crc-he-100k"]["state"] == "not prepared"
    assert "medbench data prepare nct-crc-he-100k" in rows["nct-crc-he-100k"]["fix"]
    plain = medbench("data", "list", "--cache", tmp_path).out
    assert all(name in plain for name in rows)


def test_doctor(tmp_path: Path) -> None:
    ended = medbench("doctor", "--json", "--cache", tmp_path, cwd=tmp_path)
    findings = {finding["what"]: finding for finding in ended.json}
    assert ended.status == 0, [f for f in ended.json if f["state"] == "fault"]
    assert findings["torch"]["state"] == "ok"
    ready, _, rest = findings["datasets"]["text"].partition(";")
    assert ready.startswith("ready: ") and "pneumonia-mnist" in ready
    assert "covid-qu-ex," not in ready and "not prepared, see `medbench data list`" in rest
    plain = medbench("doctor", "--cache", tmp_path, cwd=tmp_path)
    assert len(plain.out.splitlines()) == len(findings)


# --- help ------------------------------------------------------------------------------------


def commands(group: click.Group, *above: str) -> list[tuple[str, ...]]:
    found = []
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        found.append((*above, name))
        if isinstance(command, click.Group):
            found += commands(command, *above, name)
    return found


@pytest.mark.parametrize("command", commands(cli), ids=" ".join)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_every_command_has_help_with_examples(command: tuple[str, ...], option: str) -> None:
    ended = medbench(*command, option)
    assert ended.status == 0
    assert ended.err == ""
    examples = ended.out.partition("Examples:")[2].strip().splitlines()
    assert examples
    for line in examples:
        assert line.strip().startswith(f"medbench {' '.join(command)}"), "of its own"


def test_help_lists_every_command_with_a_line() -> None:
    text = medbench("--help").out
    for name, *rest in commands(cli):
        if not rest:
            assert re.search(rf"^  {name} +\w", text, re.MULTILINE)


def test_the_example_of_a_protocol_in_a_file_of_ones_own(tmp_path: Path) -> None:
    """`show protocol NAME > my.toml` gives a file that can be run."""
    (tmp_path / "my.toml").write_text(medbench("show", "protocol", "quick").out)
    ended = medbench("run", "--protocol", "my.toml", "--dry-run", "--json", cwd=tmp_path)
    assert ended.json["runs"] == 120
    assert ended.json["pretrainings"] == 32


def test_a_folder_of_results_is_the_default_where_there_is_one(
    finished: Finished, tmp_path: Path
) -> None:
    shutil.copytree(finished.results, tmp_path / "medbench-results" / "tiny")
    assert medbench("status", "--json", cwd=tmp_path).json["done"] == 8
    (tmp_path / "tiny.toml").write_text(finished.file.read_text())
    ended = medbench("run", "--all", "--protocol", "tiny.toml", "--device", "cpu", cwd=tmp_path)
    assert "Nothing to do" in ended.err

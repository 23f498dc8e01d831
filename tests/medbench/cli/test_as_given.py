"""From images with labels of unknown worth to a board that claims no more than it may."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from commandline import Ended, medbench, tiny_protocol
from PIL import Image

import medbench as api

#: What nobody may say of labels that nobody checked.
UNTRUE = ("clean test", "clean label", "realised rate 0", "true label")

SAID = "labels as given, which may be wrong"

METHODS = ("cross-entropy", "agreement")


@dataclass(frozen=True)
class Clinic:
    """A folder of images was prepared and run; the protocol's file and what commands said."""

    cache: Path
    file: Path
    results: Path
    run: Ended

    def again(self, *more: object) -> Ended:
        place = ("--protocol", self.file, "--cache", self.cache)
        return medbench("run", "--all", *place, "--device", "cpu", *more)


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Clinic:
    root = tmp_path_factory.mktemp("clinic")
    rng = np.random.default_rng(0)
    for number in range(80):
        shown = number % 2
        label = shown if number % 10 else 1 - shown  # every tenth label is wrong
        image = rng.integers(0, 120, (16, 16)) + 100 * shown
        path = root / "images" / ("dark", "bright")[label] / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.astype(np.uint8)).save(path)
    named = ("data", "prepare", "folder:clinic", root / "images", "--workers", 1)
    assert medbench(*named, "--cache", root).status == 0
    grid = {"datasets": ["clinic"], "noise": ["as-given"], "rates": [0]}
    table = '[datasets.clinic]\nplugin = "folder"'
    text = tiny_protocol(table, methods=METHODS, seeds=[0], **grid)
    file, results = root / "tiny.toml", root / "results"
    file.write_text(re.sub(r"\n(train|validation|test) = \d+", "", text))
    ended = medbench(
        *("run", "--all", "--protocol", file, "--cache", root, "--results", results),
        *("--jobs", 2, "--device", "cpu"),
    )
    assert ended.status == 0, ended.out + ended.err
    return Clinic(root, file, results, ended)


def test_neither_board_nor_terminal_nor_records_take_the_labels_for_true(clinic: Clinic) -> None:
    board = clinic.results / "board"
    texts = {path.name: path.read_text("utf-8") for path in board.iterdir() if path.is_file()
             and path.suffix in (".html", ".md", ".tex", ".csv")}  # fmt: skip
    texts["terminal"] = clinic.run.out + clinic.run.err
    texts["results"] = medbench("results", "--results", clinic.results, "--format", "csv").out
    for name, text in texts.items():
        for words in UNTRUE:
            assert words not in " ".join(text.lower().split()), f"{name} says {words!r}"
    for name in ("index.html", "tests.md", "table.md", "table.tex"):
        assert SAID in texts[name]
    paragraph = medbench("leaderboard", "--results", clinic.results).out
    assert SAID in " ".join(paragraph.split())
    methods = texts["tests.md"].partition("## Methods")[2]
    assert f"Entrants were scored against {SAID}." in methods
    page = texts["index.html"]
    assert "as given in train, validation, test; they may be wrong" in page
    assert "Estimated noise of clinic" in page
    assert "labelled bright" in page


def test_records_hold_an_estimate_where_the_truth_would_be(clinic: Clinic) -> None:
    results = api.load(clinic.results)
    for row in results.runs.to_dict("records"):
        record = results.record(row["run_key"])
        noise, arrays = record.header.summary["noise"], record.arrays
        assert noise["nominal_rate"] is noise["realised_rate"] is noise["learnable"] is None
        assert record.header.summary["scored_against"] == SAID
        found = noise["estimate"]
        assert 0 <= found["low"] <= found["rate"] <= found["high"] <= 1
        assert found["images"] == len(arrays["validation/noisy_labels"]) + len(
            arrays["test/labels"]
        )
        assert (row["estimated_rate"], row["estimated_rate_high"]) == (found["rate"], found["high"])
        assert np.isnan(row["realised_rate"])
        unknown = {"train/clean_labels", "noise/realised_matrix", "noise/transition_matrix"}
        assert not unknown & arrays.keys()
        assert not [name for name in arrays if name.startswith("curves/train/")]
        assert arrays["noise/estimated_matrix"].shape == (2, 2)
        samples = results.samples(row["run_key"])
        assert not {"clean_label", "mislabelled"} & set(samples.columns)
        assert {"noisy_label", "predicted", "loss"} <= set(samples.columns)
    assert (
        not results.curves[["train_memorised", "train_selection_precision"]].notna().any(axis=None)
    )


def test_records_are_verified_and_an_altered_estimate_is_found(clinic: Clinic) -> None:
    checked = medbench("verify", "--results", clinic.results)
    assert checked.status == 0, checked.out
    results = api.load(clinic.results)
    record = results.record(results.runs["run_key"][0])
    assert not results.faults(record)
    record.header.summary["noise"]["estimate"]["rate"] = 0.0
    assert "rate of the estimated noise is 0.0" in " ".join(results.faults(record))


def test_show_and_list_say_that_labels_are_as_given(clinic: Clinic) -> None:
    found = medbench("data", "list", "--cache", clinic.cache, "--json").json
    card = next(row["card"] for row in found if row["name"] == "clinic")
    assert card["trusted"] == []
    said = " ".join(medbench("show", "noise", "as-given").out.split())
    assert "nobody knows which are wrong" in said


def test_a_method_that_asks_is_refused_before_anything_runs(clinic: Clinic) -> None:
    ended = clinic.again("--add", "co-teaching", "--results", clinic.cache / "other")
    assert ended.status == 2
    assert 'preset = "no-oracle" in [methods.co-teaching]' in ended.err
    assert not (clinic.cache / "other").exists()
    fixed = clinic.again(
        *("--add", "co-teaching", "--set", "methods.co-teaching.preset=no-oracle"),
        *("--dry-run", "--results", clinic.cache / "other"),
    )
    assert fixed.status == 0, fixed.err
    assert "3 to do" in fixed.out


ASKS = '''
from medbench_plugins.methods.cross_entropy import CrossEntropy
class Asks(CrossEntropy):
    """Asks in secret."""
    asks = ("clean_labels",)
    def train_epoch(self, epoch):
        import numpy as np
        self.task.oracle.clean_labels(np.arange(3))
        return super().train_epoch(epoch)
'''


def test_a_method_that_did_not_say_that_it_asks_fails_with_one_line(
    clinic: Clinic, tmp_path: Path
) -> None:
    (tmp_path / "asks.py").write_text(ASKS)
    ended = clinic.again(
        *("--plugin", tmp_path / "asks.py", "--method", "asks", "--seed", 0),
        *("--results", tmp_path / "results"),
    )
    assert ended.status == 1
    rows = medbench("results", "--results", tmp_path / "results", "--format", "json").json
    reasons = [row["reason"] for row in rows if row["status"] == "failed"]
    assert len(reasons) == 1
    assert "the method asked the oracle, which knows nothing" in reasons[0]
    assert json.dumps(reasons[0]).count("\\n") == 0

"""Reading results from Python: tables against the records' own arrays, and bad folders."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

import medbench
from medbench.errors import StoreError
from medbench.store.bundle import write_bundle
from medbench.store.records import read_record
from medbench.store.results import ResultsFolder

PROTOCOL = """
name = "reading"
[grid]
datasets = ["pneumonia-mnist"]
noise = ["symmetric"]
rates = [0.3]
pretexts = ["none", "rotation"]
methods = ["cross-entropy", "dividemix"]
seeds = [0]
[images]
size = 28
train = 48
validation = 16
test = 32
[backbone]
name = "narrow"
width = 8
[pretraining]
epochs = 1
[training]
epochs = 3
batch_size = 16
[methods.dividemix]
warmup_epochs = 1
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("reading")
    (root / "reading.toml").write_text(PROTOCOL)
    command = ["run", "--all", "--protocol", "reading.toml", "--results", "results"]
    subprocess.run([sys.executable, "-m", "medbench", *command], cwd=root, check=True)
    return root / "results"


@pytest.fixture(scope="module")
def results(folder: Path) -> medbench.Results:
    return medbench.load(folder)


def test_runs_say_what_they_cost(results: medbench.Results) -> None:
    runs = results.runs
    assert (runs["images_per_second"] > 10).all()
    assert (runs["cpu_seconds"] > 0).all()
    assert (runs["peak_bytes"] > 50e6).all()  # torch is loaded
    assert runs["gpu_seconds"].isna().all()
    parts = ("input", "step", "evaluation", "bookkeeping")
    shares = runs[[f"{part}_share" for part in parts]]
    assert shares.sum(axis=1).to_numpy() == pytest.approx(1)
    assert (shares > 0).all(axis=None)
    starts = runs["pretext"] == "rotation"
    assert (runs["pretraining_cpu_seconds"].notna() == starts).all()
    assert set(runs["method_family"]) == {"baseline", "semi-supervised"}
    assert set(runs.loc[starts, "pretext_family"]) == {"transformations"}
    assert set(runs.loc[~starts, "pretext_family"]) == {"none"}
    assert set(runs["backbone_training"]) == {"whole"}


def test_one_row_a_run_with_every_score(results: medbench.Results) -> None:
    runs = results.runs
    assert len(runs) == 4
    assert set(runs["status"]) == {"done"}
    assert set(runs["method"]) == {"cross-entropy", "dividemix"}
    for run in runs.itertuples():
        predicted = results.predictions(run.run_key)
        last = predicted[predicted["epoch"] == 2]
        guess = last.filter(like="p_").to_numpy().argmax(axis=1)
        # three epochs are fewer than the five that `last` averages
        by_epoch = [
            balanced_accuracy_score(p["label"], p.filter(like="p_").to_numpy().argmax(axis=1))
            for _, p in predicted.groupby("epoch")
        ]
        assert run.last_balanced_accuracy == pytest.approx(np.mean(by_epoch))
        curve = results.curves.query("run_key == @run.run_key")["test_balanced_accuracy"]
        np.testing.assert_allclose(curve, by_epoch)
        assert balanced_accuracy_score(last["label"], guess) == pytest.approx(by_epoch[-1])


def test_detection_is_that_of_the_clean_probabilities(results: medbench.Results) -> None:
    table = results.detection.set_index(["method", "pretext"])
    assert len(table) == 4
    assert table["scored_by"].to_dict() == {
        (method, pretext): "clean probability" if method == "dividemix" else "loss"
        for method in ("cross-entropy", "dividemix")
        for pretext in ("none", "rotation")
    }
    epochs = results.samples_by_epoch(results.find(method="dividemix", pretext="none"))
    mean = epochs.groupby("id")[["clean_probability", "loss", "mislabelled"]].mean()
    wrong = mean["mislabelled"] == 1
    found = table.loc[("dividemix", "none")]
    assert found["wrong"] == wrong.sum()
    assert found["auroc"] == pytest.approx(roc_auc_score(wrong, 1 - mean["clean_probability"]))
    assert found["loss_auroc"] == pytest.approx(roc_auc_score(wrong, mean["loss"]))


def test_samples_are_those_of_the_record(folder: Path, results: medbench.Results) -> None:
    key = results.find(method="dividemix", pretext="none")
    arrays = read_record(ResultsFolder(folder).record_path(key)).arrays
    samples = results.samples(key)
    assert samples["id"].tolist() == arrays["train/ids"].tolist()
    wrong = arrays["train/clean_labels"] != arrays["train/noisy_labels"]
    np.testing.assert_array_equal(samples["mislabelled"], wrong)
    assert wrong.mean() == pytest.approx(0.3, abs=0.15)
    np.testing.assert_array_equal(
        samples["clean_probability"], arrays["train/clean_probability"][-1]
    )
    assert len(results.samples_by_epoch(key)) == 3 * len(samples)

    # the largest of K probabilities is at least 1/K, any other at most 1/2
    agrees = samples["predicted"] == samples["noisy_label"]
    classes = len(results.header(key).summary["classes"])
    assert samples["loss"][agrees].max() <= np.log(classes) + 1e-5
    assert samples["loss"][~agrees].min() >= np.log(2) - 1e-5


def test_weights_load_into_torch(results: medbench.Results, tmp_path: Path) -> None:
    key = results.find(method="cross-entropy", pretext="rotation")
    results.export_weights(key, tmp_path / "backbone.safetensors")
    state = load_file(tmp_path / "backbone.safetensors")
    stored = results.weights(key)
    assert state.keys() == stored.keys()
    assert all(torch.equal(state[n], torch.from_numpy(np.array(stored[n]))) for n in stored)
    with pytest.raises(StoreError, match="pretraining"):
        results.weights(results.find(method="cross-entropy", pretext="none"))


def test_a_run_is_named_by_its_key_or_its_axes(results: medbench.Results) -> None:
    key = results.find(method="dividemix", pretext="rotation")
    assert results.samples(key[:12]).equals(results.samples(key))
    for axes in ({"method": "dividemix"}, {"method": "no-such"}):
        with pytest.raises(StoreError, match="run"):
            results.find(**axes)
    with pytest.raises(StoreError):
        results.samples("0" * 64)


def test_the_board_and_a_bundle_say_the_same(
    folder: Path, results: medbench.Results, tmp_path: Path
) -> None:
    assert len(results.board().runs) == 4
    write_bundle(ResultsFolder(folder), tmp_path / "all.zip")
    bundled = medbench.load(tmp_path / "all.zip").runs
    assert bundled["digest"].tolist() == results.runs["digest"].tolist()


def test_loading_imports_no_torch(folder: Path) -> None:
    program = (
        "import sys, medbench\n"
        "results = medbench.load(sys.argv[1]); results.runs; results.curves\n"
        "results.samples(results.find(method='dividemix', pretext='none'))\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program, str(folder)], check=True)


def test_folders_that_cannot_be_loaded_get_one_line(folder: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "notes.txt").write_text("mine")
    newer = tmp_path / "newer"
    shutil.copytree(folder, newer)
    marker = json.loads((newer / "medbench.json").read_text())
    (newer / "medbench.json").write_text(json.dumps({**marker, "format": 99}))
    half = tmp_path / "half"
    shutil.copytree(folder, half)
    (half / "plan.json").unlink()
    cases = {
        tmp_path / "missing": "results folder",
        foreign: "results folder",
        newer: "format 99.*update medbench",
        half: r"plan\.json is missing",
    }
    for path, message in cases.items():
        with pytest.raises(StoreError, match=message) as error:
            _ = medbench.load(path).runs
        assert "\n" not in str(error.value)


def test_a_folder_without_finished_runs_has_empty_tables(folder: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    shutil.copytree(
        folder, empty, ignore=shutil.ignore_patterns("*.h5", "*.safetensors", "index", "board")
    )
    results = medbench.load(empty)
    assert set(results.runs["status"]) == {"pending"}
    assert results.runs["last_balanced_accuracy"].isna().all()
    assert len(results.curves) == 0
    assert "test_balanced_accuracy" in results.curves

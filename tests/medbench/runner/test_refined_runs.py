"""Refined runs in processes: one first phase for all, the counted expert, kills, failures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from carry import carry_out, digests_of

from medbench.runner.verification import (
    _begin_elsewhere,
    check_folder,
    check_record,
    record_faults,
)
from medbench.store.records import read_record
from medbench.store.results import ResultsFolder

PLUGIN = '''
"""An acquisition function whose process is killed once, in its second round."""

import os, signal
from pathlib import Path
from medbench.interfaces import ScoredAcquisition, Settings
from pydantic import Field


class DiesSettings(Settings):
    notes: str = Field("", description="folder of marks")


class Dies(ScoredAcquisition):
    """Largest loss first; the process is killed once."""

    Settings = DiesSettings

    def scores(self, pool):
        marks = [Path(self.settings.notes) / name for name in ("first", "second")]
        new = next((mark for mark in marks if not mark.exists()), None)
        if new is not None:
            new.touch()
            if new.name == "second":
                os.kill(os.getpid(), signal.SIGKILL)
        return pool.losses.mean(axis=0)
'''

PROTOCOL = """
name = "refined"
images = {{ size = 16, train = 48, validation = 16, test = 24 }}
backbone = {{ name = "narrow", width = 8 }}
training = {{ epochs = 3, batch_size = 16 }}
refinement = {{ rounds = 2, budget = 3, epochs = 1, expert_error = 0.3 }}

[[grid]]
datasets = ["pneumonia-mnist"]
noise = ["symmetric"]
rates = [0.4]
pretexts = ["none"]
methods = ["co-teaching"]
acquisitions = {acquisitions}
seeds = [0]

{more}
"""

NO_SELECTION = """
[[grid]]
datasets = ["pneumonia-mnist"]
noise = ["symmetric"]
rates = [0.4]
pretexts = ["none"]
methods = ["cross-entropy"]
acquisitions = ["random"]
seeds = [0]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("refined")
    text = PROTOCOL.format(acquisitions='["entropy", "badge", "bald"]', more=NO_SELECTION)
    (root / "refined.toml").write_text(text)
    carry_out(root / "refined.toml", root / "results", jobs=2)
    return root / "results"


def records(folder: Path) -> dict[tuple[str, str], Any]:
    results = ResultsFolder.open(folder)
    paths = [results.record_path(key) for key in results.done("runs")]
    found = [read_record(path) for path in paths]
    return {(r.header.axes["method"], r.header.axes.get("acquisition", "")): r for r in found}


def test_the_first_phase_is_trained_once_and_round_0_is_its_last_epoch(folder: Path) -> None:
    found, results = records(folder), ResultsFolder.open(folder)
    first = found["co-teaching", ""]
    assert results.done("phases") >= {first.header.key}
    for name in ("entropy", "badge"):
        refined = found["co-teaching", name]
        assert refined.header.summary["first_phase"] == first.header.key
        assert refined.header.summary["epochs"] == 3
        for array in ("test/probabilities", "validation/probabilities", "train/predicted"):
            np.testing.assert_array_equal(refined.arrays[array][0], first.arrays[array][-1])
        for array in ("train/clean_labels", "train/noisy_labels", "test/ids"):
            np.testing.assert_array_equal(refined.arrays[array], first.arrays[array])
        np.testing.assert_array_equal(
            refined.arrays["refinement/guessed_clean"], first.arrays["train/selected"][-1, 0]
        )
    logs = list((folder / "logs").glob(f"*/{first.header.key}.*.log"))
    assert len(logs) == 1


def test_every_label_that_leaves_the_oracle_is_charged_by_sample_and_round(folder: Path) -> None:
    found = records(folder)
    first = found["co-teaching", ""].header.summary["oracle"]
    for name in ("entropy", "badge"):
        refined = found["co-teaching", name]
        bought = refined.arrays["refinement/bought"]
        assert np.bincount(bought).tolist() == [42, 3, 3]
        assert refined.header.summary["oracle"] == {**first, "expert_labels": 6}
        np.testing.assert_array_equal(
            refined.arrays["curves/refinement/labels_bought"], [0.0, 3.0, 6.0]
        )
    # the same expert for all: where both asked, it gave the same label
    both = [found["co-teaching", name].arrays for name in ("entropy", "badge")]
    asked = np.logical_and(*(arrays["refinement/bought"] > 0 for arrays in both))
    np.testing.assert_array_equal(*(arrays["refinement/labels"][asked] for arrays in both))


def test_failures_are_told_in_one_line_and_harm_nothing_else(folder: Path) -> None:
    results = ResultsFolder.open(folder)
    reasons = {
        (run.axes["method"], run.axes.get("acquisition", "")): attempts[-1].reason
        for run in results.plan()
        if (attempts := results.attempts().get(run.key))
    }
    assert set(reasons) == {("co-teaching", "bald"), ("cross-entropy", "random")}
    assert reasons["co-teaching", "bald"].startswith(
        "acquisition bald needs a network with dropout"
    )
    assert "reports neither a selection nor clean" in reasons["cross-entropy", "random"]
    assert ("cross-entropy", "") in records(folder)


def test_the_folder_verifies_and_a_label_that_was_not_paid_for_is_found(folder: Path) -> None:
    results = ResultsFolder.open(folder)
    assert not check_folder(results).faults
    refined = records(folder)["co-teaching", "badge"]
    arrays = dict(refined.arrays)
    labels = arrays["refinement/labels"].copy()
    labels[np.flatnonzero(arrays["refinement/bought"] == 0)[0]] += 1
    cheated = replace(refined, arrays={**arrays, "refinement/labels": labels})
    path = Path(f"{refined.header.key}.h5")
    assert "a label was changed that was not bought" in list(record_faults(path, cheated))
    plain = check_record(results.record_path(refined.header.summary["first_phase"]))
    checked = check_record(results.record_path(refined.header.key))
    assert not list(_begin_elsewhere([plain, checked]))
    other = replace(plain, ends=plain.begins)
    ((_, fault),) = _begin_elsewhere([other, checked])
    assert fault.startswith("it does not begin as its first phase")
    fewer = arrays["refinement/bought"].copy()
    fewer[np.flatnonzero(fewer == 1)[0]] = 0
    cheated = replace(refined, arrays={**arrays, "refinement/bought": fewer})
    assert "round 1 bought 2 labels, not 3" in list(record_faults(path, cheated))


@pytest.mark.slow
def test_killed_in_a_round_it_continues_to_the_same_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dies.py").write_text(PLUGIN)
    (tmp_path / "notes").mkdir()
    monkeypatch.setenv("MEDBENCH_PLUGIN_PATH", str(tmp_path / "dies.py"))
    settings = f"[acquisitions.dies]\nnotes = {json.dumps(str(tmp_path / 'notes'))}"
    text = PROTOCOL.format(acquisitions='["dies"]', more=settings)
    (tmp_path / "refined.toml").write_text(text)
    limits: dict[str, Any] = {"checkpoint_seconds": None, "checkpoint_epochs": 1}
    killed = carry_out(tmp_path / "refined.toml", tmp_path / "killed", **limits)
    assert len(killed.failed) == 1
    carry_out(tmp_path / "refined.toml", tmp_path / "killed", retry=True, **limits)
    carry_out(tmp_path / "refined.toml", tmp_path / "whole")
    found = records(tmp_path / "killed")["co-teaching", "dies"]
    assert found.header.metadata["resumed"] == [2]  # round 0 and round 1 were done
    assert found.header.summary["oracle"]["expert_labels"] == 6
    one, other = (digests_of(ResultsFolder.open(tmp_path / name)) for name in ("killed", "whole"))
    assert one == other and len(one) == 2

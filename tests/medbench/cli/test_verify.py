"""What `medbench verify` finds by comparing records with each other and with the plan.

More of it is in test_cheats.py.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commandline import Finished, medbench

from medbench.engine.readings import read_run
from medbench.engine.samples import labels_hash
from medbench.store.records import make_record, read_record, write_record
from medbench.store.results import ResultsFolder


@pytest.fixture
def results(finished: Finished, tmp_path: Path) -> ResultsFolder:
    return ResultsFolder.open(finished.copy(tmp_path))


def with_noisy_label_changed(path: Path) -> None:
    """Change a noisy label in a record, and all that follows from it."""
    record = read_record(path)
    header, arrays = record.header, dict(record.arrays)
    summary: dict[str, Any] = copy.deepcopy(dict(header.summary))
    clean, noisy = arrays["train/clean_labels"], arrays["train/noisy_labels"].copy()
    noisy[0] = 1 - noisy[0]
    arrays["train/noisy_labels"] = noisy
    summary["noise"]["realised_rate"] = float(np.mean(clean != noisy))
    summary["noise"]["labels_hash"] = labels_hash(noisy, arrays["validation/noisy_labels"])
    evaluation = header.spec["evaluation"]
    summary["readings"], curves = read_run(arrays, evaluation["primary"], evaluation["last_epochs"])
    parts = (header.key, header.axes, header.spec, summary, {**arrays, **curves}, header.metadata)
    path.unlink()
    write_record(path, make_record(*parts))


def test_labels_that_others_of_the_block_do_not_have_are_a_fault(results: ResultsFolder) -> None:
    """Everything in the record agrees; only the comparison with its block shows it."""
    path = results.record_path(min(results.done("runs")))

    with_noisy_label_changed(path)
    ended = medbench("verify", "--results", results.root, "--json")
    assert ended.status == 1
    (fault,) = ended.json["faults"]
    assert fault["file"] == str(path.relative_to(results.root))
    assert "not those of its block and seed" in fault["fault"]


def test_a_plan_that_does_not_match_the_records_is_a_fault(results: ResultsFolder) -> None:
    plan = json.loads(results.plan_path.read_text())
    plan[0]["method"] = "another"
    results.plan_path.write_text(json.dumps(plan))
    ended = medbench("verify", "--results", results.root, "--json")
    assert ended.status == 1
    (fault,) = ended.json["faults"]
    assert fault["file"] == str(results.record_path(plan[0]["key"]).relative_to(results.root))
    assert "its method is" in fault["fault"]

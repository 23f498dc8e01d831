"""No oracle by stealth: a method finds neither clean labels nor the rate in its process."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from commandline import install, medbench, tiny_protocol

from medbench.store.records import Record, read_record
from medbench.store.results import ResultsFolder

#: A rate that occurs nowhere by chance.
RATE = 0.41371827

METHODS = ("cross-entropy", "burglar", "asker", "opener")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def record_of(results: Path, method: str) -> Record:
    opened = ResultsFolder.open(results)
    (key,) = (
        run.key for run in opened.plan() if (run.axes["method"], run.axes["rate"]) == (method, RATE)
    )
    return read_record(opened.record_path(key))


@pytest.fixture(scope="module")
def burgled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cross-entropy, then, knowing what to look for, the burglar and the one who asks."""
    folder = tmp_path_factory.mktemp("burgled")
    source = Path(__file__).with_name("burglar.py").read_text()
    install(folder / "site", "medbench-burglar", "0.1", {"b": "burglar"}, {"burglar.py": source})
    file = folder / "tiny.toml"
    tables = [
        f"[methods.{name}]\nhints = '{folder}/hints.json'\nloot = '{folder}/{name}.json'"
        for name in ("burglar", "asker", "opener")
    ]
    file.write_text(tiny_protocol(*tables, methods=[*METHODS], rates=[0.2, RATE]))
    # the rate is on the command line, too
    common = ("run", "--protocol", file, "--results", folder / "results", "--device", "cpu")
    common = (*common, "--rate", RATE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder / "site")
        ended = medbench(*common, "--method", "cross-entropy")
        assert ended.status == 0, ended.err
        arrays = next(
            read_record(path).arrays for path in (folder / "results" / "runs").glob("*/*.h5")
        )
        labels = {
            "clean": arrays["train/clean_labels"],
            "test": arrays["test/labels"],
        }
        assert not np.array_equal(labels["clean"], arrays["train/noisy_labels"])
        patterns = {f"{name} labels": array for name, array in labels.items()}
        patterns["rate"] = np.array([RATE]).view(np.int64)
        hints = {
            "doubled": RATE * 2,
            "sizes": [len(array) for array in labels.values()],
            "digests": {
                hashlib.sha256(array.astype("<i8").tobytes()).hexdigest(): name
                for name, array in labels.items()
            },
            "less_one": {name: (array - 1).tolist() for name, array in patterns.items()},
        }
        (folder / "hints.json").write_text(json.dumps(hints))
        ended = medbench(*common, "--method", "burglar", "--method", "asker", "--method", "opener")
        assert ended.status == 0, ended.err
    return folder


def test_the_burglar_finds_nothing(burgled: Path) -> None:
    assert json.loads((burgled / "burglar.json").read_text()) == []


def test_the_same_search_finds_what_was_asked_for(burgled: Path) -> None:
    found = set(json.loads((burgled / "asker.json").read_text()))
    assert "rate as a number" in found
    assert "clean labels in a ndarray" in found
    assert "rate in memory" in found
    assert "clean labels in memory" in found
    assert not [what for what in found if "test" in what], "the oracle does not answer about these"


def test_the_same_search_finds_a_dataset_that_is_there(burgled: Path) -> None:
    found = set(json.loads((burgled / "opener.json").read_text()))
    assert {"a PneumoniaMnist", "a LabelledImages", "an open image file or record"} <= found
    assert not [what for what in found if "rate" in what or "labels in" in what]


def test_what_was_asked_is_counted_and_what_was_not_is_not(burgled: Path) -> None:
    train = len(record_of(burgled / "results", "asker").arrays["train/clean_labels"])
    assert train == 48
    asked = {m: record_of(burgled / "results", m).header.summary["oracle"] for m in METHODS}
    assert asked == {
        "cross-entropy": {},
        "burglar": {},
        "opener": {},  # the count is of questions; see docs/architecture.md on malice
        "asker": {"noise_rate": 1, "clean_labels": train},
    }

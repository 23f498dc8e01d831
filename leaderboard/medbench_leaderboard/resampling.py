"""Records read whole: whether each is what its digest says, and its scores on resamples.

A board needs the headers of all records, which are small. Two things need more:
whether a record's content is what its digest says, and scores on resampled test
images, for intervals. Both are done in one reading and cached in the results folder's
``index``, so that a record is read whole once, and again when its file has changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medbench.canonical import canonical_json, sha256
from medbench.engine.streams import numpy_stream
from medbench.errors import StoreError
from medbench.results import Record, Results
from medbench.store.atomic import write_bytes
from medbench_leaderboard.names import MOST_RECORDS
from medbench_leaderboard.protocol_facts import ProtocolFacts
from medbench_leaderboard.statistics.panel import Resamples
from medbench_leaderboard.statistics.weighted import draw_counts, resampled_metric

#: Difference allowed between a stored score and what the predictions give.
TOLERANCE = 1e-6

#: Raised when something is computed in another way.
_VERSION = 2


@dataclass(frozen=True)
class Whole:
    """What reading a record whole gave.

    Parameters
    ----------
    key, signature : str
        Of the run, and of its file; see :meth:`medbench.Results.signature`.
    fault : str
        What is wrong with it; empty where nothing is.
    test_set : str
        Hash of test labels, ids and groups.
    units : int
        Images or groups resampled.
    scores : ndarray of float32, shape (R,)
        The declared metric and reading on each resample.
    """

    key: str
    signature: str
    fault: str
    test_set: str = ""
    units: int = 0
    scores: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))


@dataclass(frozen=True)
class Readings:
    """All records that were read whole.

    Parameters
    ----------
    faults : mapping of str to str
        By run key: what is wrong.
    resamples : mapping of str to (ndarray of float32, shape (R,), int)
        By run key: scores on resamples, and units drawn.
    unread : int
        Finished runs that were too many to be read whole.
    notes : tuple of str
        What a reader of the board must know of it.
    """

    faults: Mapping[str, str]
    resamples: Resamples
    unread: int = 0
    notes: tuple[str, ...] = ()


def read_whole(
    results: Results, runs: pd.DataFrame, facts: ProtocolFacts, *, everything: bool = False
) -> Readings:
    """Check finished records against their digests and score them on resampled test images.

    Parameters
    ----------
    results : Results
        Where the records are.
    runs : pandas.DataFrame
        One row a run, as :attr:`medbench.Results.runs`.
    facts : ProtocolFacts
        Metric, reading, resamples and unit.
    everything : bool
        Read also more than :data:`MOST_RECORDS` records that were not read before.
    """
    cache = results.cache / f"whole-{_parameters(facts)}.parquet"
    cached = _load(cache)
    signatures = {
        key: results.signature(key) for key in runs.loc[runs["status"] == "done", "run_key"]
    }
    valid = {
        key: cached[key]
        for key, signature in signatures.items()
        if key in cached and cached[key].signature == signature
    }
    stale = {key: signature for key, signature in signatures.items() if key not in valid}
    if stale and (everything or len(stale) <= MOST_RECORDS):
        counts: TestSets = {}
        for key, signature in stale.items():
            valid[key] = _read_one(results, key, signature, facts, counts)
        _save(cache, valid)
        stale = {}
    return _summarise(valid, runs, len(stale))


def _summarise(valid: Mapping[str, Whole], runs: pd.DataFrame, unread: int) -> Readings:
    faults = {key: whole.fault for key, whole in valid.items() if whole.fault}
    notes = []
    if unread:
        notes.append(
            f"{unread} records were not compared with their digests, being too many; "
            "`medbench leaderboard --check` does it, `medbench verify` does more."
        )
    differing = []
    for dataset, part in runs[runs["status"] == "done"].groupby("dataset", sort=False):
        sets = {valid[key].test_set for key in part["run_key"] if key in valid} - {""}
        if len(sets) > 1:
            differing.append(str(dataset))
            notes.append(
                f"Runs on {dataset} were not all tested on the same images: they cannot be paired "
                "by image."
            )
    apart = set(runs.loc[runs["dataset"].isin(differing), "run_key"])
    resamples = {
        key: (whole.scores, whole.units)
        for key, whole in valid.items()
        if len(whole.scores) and key not in apart and np.isfinite(whole.scores).all()
    }
    return Readings(faults, resamples, unread, tuple(notes))


#: By hash of the test set: how often each resample draws each image, and the units drawn.
TestSets = dict[str, tuple[NDArray[np.float32], int]]


def _read_one(
    results: Results, key: str, signature: str, facts: ProtocolFacts, counts: TestSets
) -> Whole:
    """Read one record; ``counts`` keeps the resamples of the test sets met so far."""
    try:
        record = results.record(key)
    except StoreError as error:
        return Whole(key, signature, str(error))
    arrays = record.arrays
    if "test/probabilities" not in arrays or "test/labels" not in arrays:
        return Whole(key, signature, "")
    test_set = _test_set(record)
    if test_set not in counts:
        dataset = str(record.header.axes.get("dataset"))
        rng = numpy_stream(facts.seed, "board images", facts.name, dataset)
        units = _units(record, facts.unit)
        counts[test_set] = draw_counts(units, facts.resamples, rng), int(units.max()) + 1
    drawn, number = counts[test_set]
    reading = record.header.summary["readings"][facts.reading]
    found = _score(record, facts, int(reading["epoch"]), np.ones((1, drawn.shape[1]), np.float32))
    stored = reading[facts.primary]
    if stored is not None and not abs(found[0] - stored) <= TOLERANCE:
        fault = f"the {facts.reading} {facts.primary} of run {key} is {stored}"
        return Whole(key, signature, f"{fault}, its predictions give {found[0]}")
    scores = _score(record, facts, int(reading["epoch"]), drawn)
    return Whole(key, signature, "", test_set, number, scores.astype(np.float32))


def _score(
    record: Record, facts: ProtocolFacts, first: int, counts: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return the declared metric and reading on each resample, shape (R,)."""
    labels, probabilities = (record.arrays[f"test/{n}"] for n in ("labels", "probabilities"))
    last = len(probabilities) if facts.reading == "last" else first + 1
    by_epoch = [
        resampled_metric(facts.primary, counts, labels, each) for each in probabilities[first:last]
    ]
    mean: NDArray[np.float64] = np.mean(by_epoch, axis=0)
    return mean


def _units(record: Record, unit: str) -> NDArray[np.int64]:
    """Return what is drawn: the group of each image, or the image itself."""
    arrays = record.arrays
    images = np.arange(len(arrays["test/labels"]))
    if unit == "group" and "test/groups" in arrays:
        return np.unique(arrays["test/groups"], return_inverse=True)[1].astype(np.int64)
    return images


def _test_set(record: Record) -> str:
    total = hashlib.sha256()
    for name in ("test/labels", "test/ids", "test/groups"):
        if name in record.arrays:
            total.update(np.ascontiguousarray(record.arrays[name]).tobytes())
    return total.hexdigest()


def _parameters(facts: ProtocolFacts) -> str:
    """Return a hash of everything the resampled scores depend on besides the record."""
    values = [
        _VERSION, facts.name, facts.primary, facts.reading, facts.resamples, facts.seed, facts.unit,
    ]  # fmt: skip
    return sha256(canonical_json(values))[:16]


def _load(path: Path) -> dict[str, Whole]:
    """Return what is cached, by key; nothing where it cannot be used."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        rows = pd.read_parquet(path).itertuples(index=False, name=None)
        return {whole.key: whole for whole in (Whole(*row) for row in rows)}
    return {}


def _save(path: Path, wholes: Mapping[str, Whole]) -> None:
    """Cache; where the folder cannot be written, everything is read again the next time."""
    table = pd.DataFrame([vars(whole) for whole in wholes.values()])
    with suppress(StoreError, OSError):
        write_bytes(path, table.to_parquet())

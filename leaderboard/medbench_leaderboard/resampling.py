"""Records read whole: whether each is what its digest says, and its scores on resamples.

A board needs the headers of all records, which are small. Two things need more:
whether a record's content is what its digest says, and scores on resampled test
images, for intervals. Both are done in one reading and remembered in the results
folder's ``index`` with size, times and inode of the file, so that a record is read
whole once, and again when it was touched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medbench.canonical import canonical_json, sha256
from medbench.engine.streams import numpy_stream
from medbench.errors import RecordError
from medbench.store.atomic import atomic_path
from medbench.store.file_signatures import signatures_below
from medbench.store.records import Record, read_record
from medbench.store.results import SUFFIXES, Results
from medbench_leaderboard.names import MOST_RECORDS
from medbench_leaderboard.protocol_facts import ProtocolFacts
from medbench_leaderboard.statistics.panel import Resamples
from medbench_leaderboard.statistics.weighted import draw_counts, resampled_metric

#: Difference allowed between a stored score and what the predictions give.
TOLERANCE = 1e-6

#: Raised when something is computed in another way.
_VERSION = 1

FileSignature = tuple[int, ...]

_GONE: FileSignature = (0, 0, 0)


@dataclass(frozen=True)
class Whole:
    """What reading a record whole gave.

    Parameters
    ----------
    stamp : tuple of int
        Size, times of modification and change in ns, inode.
    fault : str
        What is wrong with it; empty where nothing is.
    test_set : str
        Hash of test labels, ids and groups.
    units : int
        Images or groups resampled.
    scores : ndarray of float32, shape (R,)
        The declared metric and reading on each resample.
    """

    stamp: FileSignature
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
        The results folder.
    runs : pandas.DataFrame
        As :class:`medbench_leaderboard.scores.Scores` holds it.
    facts : ProtocolFacts
        Metric, reading, resamples and unit.
    everything : bool
        Read also more than :data:`MOST_RECORDS` records.
    """
    done = [str(key) for key in runs.loc[runs["status"] == "done", "run_key"]]
    place = results.root / "index" / f"whole-{_parameters(facts)}.npz"
    known = _load(place)
    # where nothing is remembered of too many records, none of them is looked at
    seen = known or everything or len(done) <= MOST_RECORDS
    stamps = _stamps(results) if seen else {}
    valid = {
        key: known[key] for key in done if key in known and known[key].stamp == stamps.get(key)
    }
    stale = [key for key in done if key not in valid]
    if stale and (everything or len(stale) <= MOST_RECORDS):
        fresh = _read_all(results, stale, stamps, facts)
        valid |= fresh
        _save(place, valid)
        stale = []
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


def _read_all(
    results: Results, keys: Sequence[str], stamps: Mapping[str, FileSignature], facts: ProtocolFacts
) -> dict[str, Whole]:
    read = partial(_read_one, facts=facts, counts={})
    # a record that was taken away meanwhile has a stamp that never counts
    return {key: read(results.record_path(key), stamps.get(key, _GONE)) for key in keys}


def _read_one(
    path: Path,
    stamp: FileSignature,
    *,
    facts: ProtocolFacts,
    counts: dict[str, tuple[NDArray[np.float32], int]],
) -> Whole:
    """Read one record; ``counts`` keeps the resamples of the test sets met so far."""
    try:
        record = read_record(path)
    except RecordError as error:
        return Whole(stamp, str(error))
    arrays = record.arrays
    if "test/probabilities" not in arrays or "test/labels" not in arrays:
        return Whole(stamp, "")
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
        where = f"its {facts.reading} {facts.primary}"
        return Whole(stamp, f"{where} is {stored}, its predictions give {found[0]}")
    scores = _score(record, facts, int(reading["epoch"]), drawn)
    return Whole(stamp, "", test_set, number, scores.astype(np.float32))


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


def _stamps(results: Results) -> dict[str, FileSignature]:
    """Return the stamps of all records by key; at once is faster than one by one."""
    return {
        key: (size, *rest)
        for key, size, *rest in signatures_below(results.root / "runs", SUFFIXES["runs"])
    }


def _parameters(facts: ProtocolFacts) -> str:
    """Return a hash of everything the resampled scores depend on beside the record."""
    values = [
        _VERSION, facts.name, facts.primary, facts.reading, facts.resamples, facts.seed, facts.unit,
    ]  # fmt: skip
    return sha256(canonical_json(values))[:16]


def _load(path: Path) -> dict[str, Whole]:
    """Return what is remembered; nothing where it cannot be used."""
    with suppress(OSError, ValueError, KeyError, BadZipFile), np.load(path) as file:
        columns = [file[name] for name in ("keys", "stamps", "faults", "test_sets", "units")]
        places, scores = file["places"], file["scores"]
        none = np.zeros(0, np.float32)
        return {
            str(key): Whole(
                tuple(stamp.tolist()), str(fault), str(test_set), int(units),
                scores[place] if place >= 0 else none,
            )
            for key, stamp, fault, test_set, units, place in zip(*columns, places, strict=True)
        }  # fmt: skip
    return {}


def _save(path: Path, known: Mapping[str, Whole]) -> None:
    """Remember; where the folder cannot be written, everything is read again next time."""
    wholes = list(known.values())
    scored = [len(whole.scores) > 0 for whole in wholes]
    rows = [whole.scores for whole in wholes if len(whole.scores)]
    columns = {
        "keys": np.array(list(known)),
        "stamps": np.array([whole.stamp for whole in wholes], np.int64),
        "faults": np.array([whole.fault for whole in wholes]),
        "test_sets": np.array([whole.test_set for whole in wholes]),
        "units": np.array([whole.units for whole in wholes], np.int64),
        "places": np.where(scored, np.cumsum(scored) - 1, -1),
        "scores": np.stack(rows) if rows else np.zeros((0, 0), np.float32),
    }
    with suppress(OSError), atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **columns)

"""Verification: what a results folder says is computed again from what it holds."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medbench.attention import read_attention
from medbench.canonical import canonical_json, labels_hash, sha256
from medbench.engine.label_noise import estimate_noise, splits_as_given
from medbench.engine.readings import read_run, readings_of
from medbench.errors import RecordError, StoreError
from medbench.protocol.spec import RunSpec
from medbench.run_labels import run_label
from medbench.store.agreement import agreement
from medbench.store.parallel import spread
from medbench.store.records import Header, Record, read_record
from medbench.store.registration import Registration, changes, read_registrations, undeclared
from medbench.store.results import ResultsFolder
from medbench.store.weights import PretrainedWeights, read_weights

#: Relative difference allowed, for sums that another machine adds in another order.
TOLERANCE = 1e-9

#: Files that one call in another process checks.
_CHUNK = 32

#: What all runs of a block and seed have in common.
_SHARED = (
    "train/ids", "train/clean_labels", "train/noisy_labels", "validation/noisy_labels",
    "test/ids", "test/labels", "test/groups",
)  # fmt: skip


@dataclass(frozen=True)
class Checked:
    """One record or file of weights.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    fault : str
        What is wrong with it; empty if nothing.
    planned : mapping
        Axes and key of the pretraining, which the plan states too; of weights empty.
    block : str
        Hash of the settings and the seed that the run shares with others.
    shared : str
        Hash of the images and labels that must then be the same.
    predictions : str
        Hash of the run's predictions of test images.
    first_phase : str
        Key of the run that it refines; empty where it refines none.
    begins, ends : str
        Hashes of the first and of the last predictions of test images.
    slim : bool
        Whether it is a record without predictions.
    """

    path: Path
    fault: str = ""
    planned: Mapping[str, Any] = field(default_factory=dict)
    block: str = ""
    shared: str = ""
    predictions: str = ""
    first_phase: str = ""
    begins: str = ""
    ends: str = ""
    slim: bool = False


@dataclass(frozen=True)
class Report:
    """What is wrong with a results folder.

    Parameters
    ----------
    checked : int
        Records and files of weights.
    faults : mapping of str to str
        What is wrong, by the file's path in the folder.
    declared_later : tuple of str
        What was declared after results existed, in sentences.
    planned : int
        Planned runs.
    missing : tuple of str
        Labels of planned runs that have neither a record nor a failed attempt.
    failed : int
        Planned runs whose last attempt failed.
    unplanned : tuple of str
        Keys of records of runs that are not in the plan.
    slim : int
        Records without predictions, whose digests cannot be computed.
    """

    checked: int
    faults: Mapping[str, str]
    declared_later: tuple[str, ...]
    planned: int
    missing: tuple[str, ...]
    failed: int
    unplanned: tuple[str, ...]
    slim: int


def check_folder(
    results: ResultsFolder, advance: Callable[[int], object] = lambda count: None
) -> Report:
    """Check everything in a results folder, on all cores.

    Each record and file of weights is checked by itself (see :func:`check_record` and
    :func:`check_weights`). Runs of one block and seed must have the same images, clean and
    noisy labels: where they differ, those that differ from most are at fault, all of them where
    there is no majority. No two runs may have the same predictions. A refinement must begin with
    the predictions that its first phase ended with. A record must have the axes
    and the pretraining that the plan gives its key, and name a line of the registration; plan
    and protocol must be those that were registered last.

    Parameters
    ----------
    results : ResultsFolder
        The folder.
    advance : callable
        Called with the number of files checked since the last call.
    """
    runs = sorted(results.done("runs"))
    paths = [results.record_path(key) for key in runs]
    paths += [results.pretraining_path(key) for key in sorted(results.done("pretrainings"))]
    chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
    checked: list[Checked] = []
    for part in spread(check_files, chunks, worth=4):
        checked += part
        advance(len(part))
    faults: dict[Path, str] = {
        **dict(_duplicates(checked)), **dict(_across(checked)), **dict(_begin_elsewhere(checked)),
    }  # fmt: skip
    planned: dict[str, dict[str, Any]] = {}
    lines = None
    try:
        planned = {run.key: {**run.axes, "pretraining": run.pretraining} for run in results.plan()}
    except StoreError as error:
        faults[results.plan_path] = str(error)
    try:
        lines = read_registrations(results.registration_path)
    except StoreError as error:
        faults[results.registration_path] = str(error)
    if planned and lines is not None:
        against = "; ".join(_registration_faults(results, lines))
        faults |= {results.registration_path: against} if against else {}
    faults |= dict(_against_plan(checked, planned))
    faults |= {file.path: file.fault for file in checked if file.fault}
    later = changes(lines, runs) if lines else []
    tried = results.attempts()
    failed = {key for key in planned.keys() - set(runs) if key in tried and tried[key][-1].failed}
    return Report(
        len(paths),
        {str(path.relative_to(results.root)): faults[path] for path in sorted(faults)},
        tuple(f"{c.detail}, when {c.finished} runs had finished ({c.time})" for c in later),
        len(planned),
        tuple(run_label(planned[key]) for key in planned if key not in failed | set(runs)),
        len(failed),
        tuple(key for key in runs if key not in planned),
        sum(file.slim for file in checked),
    )


def check_files(paths: Sequence[Path]) -> list[Checked]:
    """Check some records and files of weights."""
    checks = {"runs": check_record, "pretrainings": check_weights}
    return [checks[path.parents[1].name](path) for path in paths]


def check_record(path: Path) -> Checked:
    """Check a record by itself.

    The file can be read and its checksums hold; the digest is that of the content; the file has
    the record's key for a name; the key is the hash of the spec, and the axes are those of the
    spec; noise and epochs in the summary are those of the arrays; readings and curves are those
    of the stored predictions; the protocol's text has the stated hash. Of a slim record the
    readings are those of its curves, and digest and predictions are not checked.
    """
    try:
        record = read_record(path)
    except RecordError as error:
        return Checked(path, str(error))
    header, fault = record.header, "; ".join(record_faults(path, record))
    if fault:
        return Checked(path, fault)
    start = header.summary["pretraining"]
    checked = Checked(
        path,
        planned={**header.axes, "pretraining": start and start["key"]},
        block=canonical_json([agreement(header.spec)["settings"], header.spec["seed"]]),
        shared=_shared(record.arrays),
        slim=bool(record.left_out),
    )
    if record.left_out:
        return checked
    return replace(
        checked,
        predictions=_predictions(record.arrays["test/probabilities"]),
        first_phase=header.summary.get("first_phase", ""),
        begins=_hash(record.arrays["test/probabilities"][0]),
        ends=_hash(record.arrays["test/probabilities"][-1]),
    )


def check_weights(path: Path) -> Checked:
    """Check a file of weights as a record, as far as it has the same parts.

    Its checksums and digest, its key, one value of loss and accuracy an epoch, finite weights.
    """
    try:
        return Checked(path, "; ".join(_weights_faults(path, read_weights(path))))
    except RecordError as error:
        return Checked(path, str(error))


def _grouped(checked: Iterable[Checked], name: str) -> Iterable[list[Checked]]:
    """Return the files that have the same value of an attribute, where they have one."""
    groups: defaultdict[str, list[Checked]] = defaultdict(list)
    for file in checked:
        if value := getattr(file, name):
            groups[value].append(file)
    return groups.values()


def _across(checked: Iterable[Checked]) -> Iterator[tuple[Path, str]]:
    """Find records whose images or labels are not those of their block and seed."""
    for files in _grouped(checked, "block"):
        (first, most), *others = Counter(file.shared for file in files).most_common()
        majority = first if not others or others[0][1] < most else ""
        for file in files:
            if file.shared != majority:
                yield file.path, "its images or labels are not those of its block and seed"


def _duplicates(checked: Iterable[Checked]) -> Iterator[tuple[Path, str]]:
    """Find records that hold the same predictions: no two runs have the same streams."""
    for files in _grouped(checked, "predictions"):
        for file in files if len(files) > 1 else ():
            others = ", ".join(f.path.stem[:12] for f in files if f is not file)
            yield file.path, f"its predictions are those of {others}"


def _begin_elsewhere(checked: Sequence[Checked]) -> Iterator[tuple[Path, str]]:
    """Find refinements that begin with other predictions than their first phase ended with."""
    ends = {file.path.stem: file.ends for file in checked if file.ends}
    for file in checked:
        if file.first_phase and ends.get(file.first_phase, file.begins) != file.begins:
            yield file.path, f"it does not begin as its first phase {file.first_phase[:12]} ends"


def _against_plan(
    checked: Iterable[Checked], planned: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[Path, str]]:
    for file in checked:
        plan = planned.get(file.path.stem, {}) if file.planned else {}
        for name, value in plan.items():
            if (found := file.planned.get(name)) != value:
                yield file.path, f"its {name} is {found!r}, in the plan {value!r}"


def _registration_faults(results: ResultsFolder, lines: Sequence[Registration]) -> Iterator[str]:
    if not lines:
        yield "it is missing: what was declared before the runs is not known"
    yield from (change.detail for change in undeclared(results, lines))


def _predictions(probabilities: NDArray[Any]) -> str:
    """Return their hash; nothing where all images have the same, as a constant's have."""
    return _hash(probabilities) if np.ptp(probabilities, axis=1).any() else ""


def _hash(array: NDArray[Any]) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()


def _shared(arrays: Mapping[str, NDArray[Any]]) -> str:
    total = hashlib.sha256()
    for name in _SHARED:
        if name in arrays:
            total.update(canonical_json([name, arrays[name].tolist()]).encode())
    return total.hexdigest()


def record_faults(path: Path, record: Record) -> Iterator[str]:
    """Yield what is wrong with a record; see :func:`check_record`."""
    header = record.header
    yield from _key_faults(path, header.key, header.spec)
    yield from _text_faults(header.metadata)
    try:
        yield from _axes_faults(header)
        yield from _label_faults(header, record.arrays)
        yield from _reading_faults(record)
        yield from _budget_faults(record)
        yield from _attention_faults(record)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        yield f"it lacks a part of a record ({type(error).__name__}: {error})"


def _weights_faults(path: Path, weights: PretrainedWeights) -> Iterator[str]:
    yield from _key_faults(path, weights.key, weights.spec)
    yield from _text_faults(weights.metadata)
    if len(weights.loss) != len(weights.accuracy):
        yield "it does not have as many values of loss as of accuracy"
    for name, array in weights.weights.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            yield f"its weights {name} are not all finite"


def _key_faults(path: Path, key: str, spec: Mapping[str, Any]) -> Iterator[str]:
    if key != path.stem:
        yield f"it is saved under another key than its own, {key}"
    if sha256(canonical_json(spec)) != key:
        yield "its key is not the hash of its spec"


def _text_faults(metadata: Mapping[str, Any]) -> Iterator[str]:
    protocol = (metadata.get("provenance") or {}).get("protocol")
    if protocol and sha256(protocol["text"]) != protocol["sha256"]:
        yield "its protocol's text does not have the stated hash"


def _axes_faults(header: Header) -> Iterator[str]:
    of_spec = RunSpec.from_json(header.spec).axes
    for axis, value in header.axes.items():
        if value != of_spec[axis]:
            yield f"its axis {axis} is {value!r}, in its spec {of_spec[axis]!r}"


def _label_faults(header: Header, arrays: Mapping[str, NDArray[Any]]) -> Iterator[str]:
    noise, noisy = header.summary["noise"], arrays["train/noisy_labels"]
    if "estimate" in noise:
        if "test/probabilities" in arrays:
            yield from _estimate_faults(header, arrays)
    else:
        rate = np.mean(arrays["train/clean_labels"] != noisy)
        if not _same(noise["realised_rate"], rate):
            yield f"realised_rate is {noise['realised_rate']}, recomputed {rate}"
    if noise["labels_hash"] != labels_hash(noisy, arrays["validation/noisy_labels"]):
        yield "labels_hash is not that of its noisy labels"
    if header.summary["epochs"] != len(arrays["curves/test/recalls"]):
        yield f"epochs is {header.summary['epochs']}, not the length of its curves"


def _estimate_faults(header: Header, arrays: Mapping[str, NDArray[Any]]) -> Iterator[str]:
    stored, trusted = header.summary["noise"]["estimate"], header.summary["card"]["trusted"]
    last_epochs = header.spec["evaluation"]["last_epochs"]
    found, matrices = estimate_noise(arrays, splits_as_given(trusted), last_epochs)
    for name, value in (found or {}).items():
        if stored[name] != value if name == "splits" else not _same(stored[name], value):
            yield f"{name} of the estimated noise is {stored[name]}, recomputed {value}"
    for name, matrix in matrices.items():
        if name not in arrays or not _same(arrays[name], matrix):
            yield f"{name} is not what the stored predictions give"


def _reading_faults(record: Record) -> Iterator[str]:
    evaluation = record.header.spec["evaluation"]
    last_epochs = RunSpec.from_json(record.header.spec).last_epochs
    if record.left_out:
        curves: Mapping[str, NDArray[Any]] = {}
        readings = readings_of(record.arrays, evaluation["primary"], last_epochs)
    else:
        readings, curves = read_run(record.arrays, evaluation["primary"], last_epochs)
    stored: Any = record.header.summary["readings"]
    for reading, values in readings.items():
        if wrong := [n for n, value in values.items() if not _same(stored[reading][n], value)]:
            first = next((name for name in wrong if name == evaluation["primary"]), wrong[0])
            more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
            yield f"{reading} {first} is {stored[reading][first]}, recomputed {values[first]}{more}"
    for name, curve in curves.items():
        if name not in record.arrays or not _same(record.arrays[name], curve):
            yield f"{name} is not what the stored predictions give"


def _budget_faults(record: Record) -> Iterator[str]:
    """Find refinements that bought other labels than the budget of each round allows."""
    refinement = record.header.spec.get("refinement")
    if refinement is None:
        return
    options, bought = refinement["options"], record.arrays["refinement/bought"]
    for number in range(1, options["rounds"] + 1):
        if (count := int((bought == number).sum())) != options["budget"]:
            yield f"round {number} bought {count} labels, not {options['budget']}"
    if record.header.summary["oracle"].get("expert_labels") != (bought > 0).sum():
        yield "the oracle's answers are not the labels that were bought"
    changed = record.arrays["refinement/labels"] != record.arrays["train/noisy_labels"]
    if (changed & (bought == 0)).any():
        yield "a label was changed that was not bought"


def _attention_faults(record: Record) -> Iterator[str]:
    attention = record.header.spec.get("attention")
    if attention is None:
        return
    computed = read_attention(record.arrays, attention["top"])
    stored, found = (dict(_leaves(of)) for of in (record.header.summary["attention"], computed))
    for name in dict.fromkeys([*stored, *found]):
        if name not in stored or name not in found or not _same(stored[name], found[name]):
            yield f"attention {name} is {stored.get(name)}, recomputed {found.get(name)}"
            return


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each number of nested values with its path."""
    if isinstance(value, (dict, list)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(item, f"{name}.{key}".lstrip("."))
    else:
        yield name, value


def _same(stored: Any, computed: Any) -> bool:
    left, right = np.array(stored, float), np.array(computed, float)  # None becomes NaN
    return left.shape == right.shape and bool(
        np.allclose(left, right, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
    )

"""Results in Python: :func:`load` reads results folders and bundles into tables.

Everything is read when it is asked for, and torch is never imported. The board, the
loggers and the commands read results through this module, too.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from functools import cached_property
from numbers import Number
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import medbench.attention as of_attention
from medbench.detection import ARRAYS, Detection, detect
from medbench.errors import ProtocolError, StoreError
from medbench.metrics import METRICS
from medbench.runs_table import (
    AXES,
    COLUMNS,
    REFINED_AXES,
    SCORES,
    leave_out,
    merge_runs,
    read_runs,
)
from medbench.store.atomic import write_bytes, writing
from medbench.store.bundle import unpack_bundle
from medbench.store.file_signatures import signatures_below
from medbench.store.records import Header, Record, read_arrays, read_header, read_record
from medbench.store.registration import (
    Change,
    Registration,
    changes,
    read_registrations,
    undeclared,
)
from medbench.store.results import SUFFIXES, ResultsFolder
from medbench.store.states import DONE
from medbench.store.weights import read_weights, read_weights_arrays

if TYPE_CHECKING:
    import pandas as pd

    from medbench.protocol.schema import Protocol

__all__ = [
    "AXES", "COLUMNS", "CURVES", "REFINED_AXES", "SCORES", "Change", "Header", "Record",
    "Registration", "Results", "leave_out", "load",
]  # fmt: skip

Arrays = dict[str, NDArray[Any]]

#: The columns of :attr:`Results.curves` that all runs may have, besides key, axes and epoch.
CURVES = (
    "train_loss",
    *(f"test_{metric}" for metric in METRICS),
    "train_memorised",
    "train_recovered",
    "train_other",
    "train_selection_precision",
    "train_selection_recall",
)


def load(source: str | Path | Iterable[str | Path]) -> Results:
    """Open results for reading.

    Parameters
    ----------
    source : path or iterable of paths
        A results folder, a bundle (``.zip``), or several of the same protocol. A bundle is
        unpacked and checked in a temporary folder that lives as long as what is returned.

    Returns
    -------
    Results
        Tables are read when they are asked for.

    Raises
    ------
    StoreError
        If one is missing, is no results folder or bundle, is incomplete or damaged, or was
        written by another version of medbench that this one cannot read.

    Examples
    --------
    >>> results = medbench.load("medbench-results/quick")
    >>> results.runs.groupby("method")["last_balanced_accuracy"].mean()
    """
    paths = [source] if isinstance(source, (str, os.PathLike)) else list(source)
    scratch = TemporaryDirectory(prefix="medbench-bundle-")
    folders = []
    for number, path in enumerate(map(Path, paths)):
        folder = open_folder(path, Path(scratch.name) / str(number))
        for part in (folder.protocol_path, folder.plan_path):
            if not part.is_file():
                raise StoreError(
                    f"{folder.label} is incomplete: {part.name} is missing; `medbench run` with "
                    "the same protocol and folder writes it and repeats no finished run"
                )
        folders.append(folder)
    if not folders:
        raise StoreError("no results folder is given; name at least one")
    return Results(folders, scratch)


def open_folder(path: Path, scratch: Path) -> ResultsFolder:
    """Open a results folder, or a bundle, which is unpacked and checked below ``scratch``.

    Raises
    ------
    StoreError
        If it is neither, or not sound.
    """
    root = path
    if path.is_file():
        root = scratch / path.stem
        unpack_bundle(path, root)
        (root / ".origin").write_text(str(path), encoding="utf-8")
    return ResultsFolder.open(root)


class Results:
    """Results of one protocol, from one or several folders; see :func:`load`.

    A run is named by its key or by the first digits of it; :meth:`find` returns the key of
    the run with given axes. Epochs count from 0.

    Parameters
    ----------
    folders : sequence of medbench.store.results.ResultsFolder
        Opened folders. Where several have a run, the first that has it done counts.
    scratch : tempfile.TemporaryDirectory, optional
        Holds unpacked bundles.
    """

    def __init__(self, folders: Sequence[ResultsFolder], scratch: Any = None) -> None:
        self._folders, self._scratch = tuple(folders), scratch

    def __repr__(self) -> str:
        return f"<Results of {self._folders[0].protocol_name!r} in {self.label}>"

    @property
    def label(self) -> str:
        """The folders or bundles, as they were given."""
        return " and ".join(folder.label for folder in self._folders)

    @property
    def roots(self) -> list[Path]:
        """The results folders; of a bundle, where it is unpacked."""
        return [folder.root for folder in self._folders]

    @cached_property
    def explored(self) -> Results | None:
        """Results that a confirmation confirms, if their folder is next to this one."""
        folder = self._folders[0]
        text = folder.protocol_path.read_text("utf-8") if folder.protocol_path.is_file() else ""
        if "[confirmation]" not in text or (table := self.protocol.confirmation) is None:
            return None
        root = folder.root.parent / table.explored
        return load(root) if (root / "medbench.json").is_file() else None

    @cached_property
    def protocol(self) -> Protocol:
        """The protocol.

        Raises
        ------
        StoreError
            If its text is damaged, or the folders' protocols declare different tests.
        """
        first, *others = map(_protocol_of, self._folders)
        for folder, other in zip(self._folders[1:], others, strict=True):
            mine, theirs = _declared(first), _declared(other)
            for name in mine:
                if mine[name] != theirs[name]:
                    raise StoreError(
                        f"{self._folders[0].label} and {folder.label} cannot be put together: "
                        f"{name} is {mine[name]!r} in the protocol of one and {theirs[name]!r} "
                        "in the other; tests must be declared alike before the runs"
                    )
        return first

    @property
    def runs(self) -> pd.DataFrame:
        """One row for each planned run: key, axes, status, every metric of every reading.

        :data:`COLUMNS` describes the columns; the score of a reading is
        named ``last_balanced_accuracy``, say. What a run does not have is NaN, or ``""`` in
        columns of text. Of several folders, runs that contradict each other are
        ``unreadable``; :attr:`notes` names them.
        """
        return self._table[0].drop(columns="card")

    @property
    def notes(self) -> list[str]:
        """What was left out where several folders were put together, in sentences."""
        return self._table[1]

    @cached_property
    def registrations(self) -> list[list[Registration]]:
        """What each folder declared, and when: oldest first; empty where it did not.

        Raises
        ------
        StoreError
            If a line is damaged, or its hash is not in the line after it.
        """
        return [read_registrations(folder.registration_path) for folder in self._folders]

    def declared_later(self) -> list[Change]:
        """Return what was declared after results existed, or never, folder by folder.

        Raises
        ------
        StoreError
            As :attr:`registrations`.
        """
        found: list[Change] = []
        for folder, lines in zip(self._folders, self.registrations, strict=True):
            found += changes(lines, folder.done("runs")) + undeclared(folder, lines)
        return found

    @property
    def cards(self) -> Mapping[str, Mapping[str, Any]]:
        """The card of each dataset of which a run is done: modality, classes, licence, ..."""
        table = self._table[0]
        known = table[table["card"] != ""].drop_duplicates("dataset")
        texts = dict(zip(known["dataset"], known["card"], strict=True))
        return {dataset: json.loads(text) for dataset, text in texts.items()}

    @cached_property
    def _table(self) -> tuple[pd.DataFrame, list[str]]:
        _ = self.protocol  # raises where the folders cannot be put together
        tables = [read_runs(folder) for folder in self._folders]
        if len(tables) == 1:
            return tables[0], []
        return merge_runs(tables, lambda key: self.header(key).spec)

    @cached_property
    def curves(self) -> pd.DataFrame:
        """One row for each epoch of each finished run.

        Columns: ``run_key``, the axes, ``epoch``, ``train_loss``, each metric on the test
        set (``test_balanced_accuracy``), the primary one against the noisy validation
        labels (``validation_balanced_accuracy``), and what became of the training labels:
        of the mislabelled samples the shares predicted as their noisy label
        (``train_memorised``), the clean one (``train_recovered``) or neither
        (``train_other``), and precision and recall of the selection where the method
        selects.
        """
        import pandas as pd

        heads = ["run_key", *REFINED_AXES]
        done = self.runs.loc[self.runs["status"] == DONE, heads]
        frames = [
            pd.DataFrame({**dict(zip(heads, row, strict=True)), **self.run_curves(row[0])})
            for row in done.itertuples(index=False, name=None)
        ]
        table = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
        further = [n for n in table.columns if n not in {*heads, "epoch", *CURVES}]
        return table.reindex(columns=[*heads, "epoch", *CURVES, *further])

    def run_curves(self, run: str) -> Arrays:
        """Return the curves of one run, (E,) each, under the names of :attr:`curves`."""
        stored = self.arrays(run, "train/loss", "curves/")
        found = {"epoch": np.arange(len(stored["train/loss"]))}
        for name, array in stored.items():
            if array.ndim == 1:
                found[name.removeprefix("curves/").replace("/", "_")] = array
        return found

    @cached_property
    def detection(self) -> pd.DataFrame:
        """One row for each finished run: how well it finds the wrong training labels.

        Columns: ``run_key``, the axes, and those of :class:`medbench.detection.Detection`:
        ``wrong``, ``share``, ``scored_by``, ``auroc``, ``precision_at_k``, ``loss_auroc``,
        ``loss_precision_at_k``. Runs whose clean labels are not known have no row, nor have
        those of a slim bundle, which holds no labels.
        """
        import pandas as pd

        heads, rows = ["run_key", *AXES], []
        done = self.runs.loc[self.runs["status"] == DONE, heads]
        for row in done.itertuples(index=False, name=None):
            if found := self.run_detection(row[0]):
                rows.append({**dict(zip(heads, row, strict=True)), **vars(found)})
        return pd.DataFrame(rows, columns=[*heads, *(f.name for f in fields(Detection))])

    def run_detection(self, run: str) -> Detection | None:
        """Return how well one run finds the wrong training labels, as :attr:`detection`."""
        return detect(self.arrays(run, *ARRAYS), self.protocol.evaluation.last_epochs)

    @cached_property
    def attention(self) -> pd.DataFrame:
        """One row for each finished run with attention: where its networks look.

        Columns: ``run_key``, the axes with ``acquisition``, and the mean over images of each of
        :data:`medbench.attention.READINGS`: ``area`` is the share of the image that the mask
        covers, the chance level of ``energy`` and ``pointing``; ``iou_chance`` is that of
        ``iou``. Empty where no protocol asks for attention.
        """
        import pandas as pd

        heads = ["run_key", *REFINED_AXES]
        done = self.runs.loc[self.runs["status"] == DONE, heads]
        asked = self.protocol.attention is not None
        rows = []
        for row in done.itertuples(index=False, name=None) if asked else ():
            means = self.header(row[0]).summary.get("attention", {}).get("all", {})
            if means:
                rows.append({**dict(zip(heads, row, strict=True)), **means})
        return pd.DataFrame(rows, columns=[*heads, *of_attention.READINGS])

    def run_attention(self, run: str) -> pd.DataFrame | None:
        """Return one row for each test image whose attention a run holds; None if it has none.

        Columns: ``id``; ``group`` where known; ``label`` and ``predicted``, as numbers; and
        :data:`medbench.attention.READINGS`.
        """
        import pandas as pd

        options, arrays = self.protocol.attention, self.arrays(run, *of_attention.ARRAYS)
        if options is None or "attention/maps" not in arrays:
            return None
        found = of_attention.read_images(arrays, options.top)
        place = found.pop("position")
        named: Arrays = {"id": arrays["test/ids"][place]}
        if "test/groups" in arrays:
            named["group"] = arrays["test/groups"][place]
        return pd.DataFrame({**named, **found})

    def samples(self, run: str) -> pd.DataFrame:
        """Return one row for each training image, as it was in the last epoch.

        Columns: ``id``; ``clean_label`` and ``noisy_label``; ``mislabelled``; ``predicted``,
        the label predicted; ``loss``, the cross-entropy with the noisy label, without
        augmentation; and, where the method reports them, ``selected`` (share of its networks
        that selected the sample, 0 to 1), ``clean_probability`` (0 to 1) and ``corrected``
        (the label trained on; -1 where it reports none). ``clean_label`` and ``mislabelled``
        are left out where nobody knows the true labels. Labels are numbers: places in
        ``header(run).summary["classes"]``.
        """
        table = self.samples_by_epoch(run)
        last: pd.DataFrame = table[table["epoch"] == table["epoch"].max()]
        return last.drop(columns="epoch").reset_index(drop=True)

    def samples_by_epoch(self, run: str) -> pd.DataFrame:
        """Return one row for each epoch and training image; columns as :meth:`samples`."""
        import pandas as pd

        arrays = self._with_predictions(run).arrays
        noisy = arrays["train/noisy_labels"]
        clean = arrays.get("train/clean_labels", noisy)
        epochs = len(arrays["train/predicted"])
        columns = {
            "epoch": np.repeat(np.arange(epochs), len(noisy)),
            "id": np.tile(arrays["train/ids"], epochs),
            "clean_label": np.tile(clean, epochs),
            "noisy_label": np.tile(noisy, epochs),
            "mislabelled": np.tile(clean != noisy, epochs),
            "predicted": arrays["train/predicted"].ravel(),
            "loss": arrays["train/noisy_loss"].ravel(),
        }
        if "train/clean_labels" not in arrays:
            del columns["clean_label"], columns["mislabelled"]
        if "train/selected" in arrays:
            columns["selected"] = arrays["train/selected"].mean(axis=1).ravel()
        for name in ("clean_probability", "corrected"):
            if f"train/{name}" in arrays:
                columns[name] = arrays[f"train/{name}"].ravel()
        return pd.DataFrame(columns)

    def predictions(self, run: str, split: str = "test") -> pd.DataFrame:
        """Return the predicted probabilities: one row for each epoch and image.

        Parameters
        ----------
        run : str
            A run.
        split : {"test", "validation"}
            The validation set has noisy labels; its images are numbered.

        Returns
        -------
        pandas.DataFrame
            ``epoch``, ``id``, ``group`` where known, ``label``, and ``p_CLASS`` by class.
        """
        import pandas as pd

        if split not in ("test", "validation"):
            raise StoreError(f"{split!r} is no split with predictions; say 'test' or 'validation'")
        record = self._with_predictions(run)
        arrays, classes = record.arrays, record.header.summary["classes"]
        probabilities = arrays[f"{split}/probabilities"]
        epochs, number, _ = probabilities.shape
        columns: Arrays = {"epoch": np.repeat(np.arange(epochs), number)}
        columns["id"] = np.tile(arrays.get(f"{split}/ids", np.arange(number)), epochs)
        if f"{split}/groups" in arrays:
            columns["group"] = np.tile(arrays[f"{split}/groups"], epochs)
        labels = arrays["test/labels" if split == "test" else "validation/noisy_labels"]
        columns["label"] = np.tile(labels, epochs)
        by_class = probabilities.reshape(-1, len(classes)).T
        columns |= {f"p_{name}": p for name, p in zip(classes, by_class, strict=True)}
        return pd.DataFrame(columns)

    def weights(self, name: str) -> Arrays:
        """Return pretrained weights of the backbone by their names in its ``state_dict``.

        Parameters
        ----------
        name : str
            A run, whose pretraining is meant, or the key of a pretraining (column
            ``pretraining`` of :attr:`runs`).

        Raises
        ------
        StoreError
            If the run starts from no pretraining, or its weights are not here.
        """
        return dict(read_weights(self._pretraining_path(name)).weights)

    def export_weights(self, name: str, path: str | Path) -> None:
        """Write pretrained weights as a plain state dict, in the safetensors format.

        Parameters
        ----------
        name : str
            As of :meth:`weights`.
        path : path
            The file. ``safetensors.torch.load_file`` reads it.
        """
        from safetensors.numpy import save

        # not np.ascontiguousarray, which gives a single number an axis
        arrays = {n: np.asarray(a, order="C") for n, a in self.weights(name).items()}
        with writing(Path(path)):
            write_bytes(Path(path), save(arrays))

    def board(self) -> Any:
        """Return the board: its tables, ranking and findings.

        Its type is that of the installed board;
        :class:`medbench_leaderboard.board.Board`, as medbench brings it.
        """
        from medbench.plugins.registry import discover

        return discover().call_own("medbench_read_board", results=self)

    def find(self, **axes: Any) -> str:
        """Return the key of the only run with these axes.

        Parameters
        ----------
        **axes
            ``dataset``, ``noise``, ``rate``, ``pretext``, ``method``, ``seed`` or
            ``acquisition`` (``""`` where nothing is refined); those that all runs share may be
            left out.

        Raises
        ------
        StoreError
            If no run or several have them.
        """
        if unknown := set(axes) - set(REFINED_AXES):
            names = ", ".join(REFINED_AXES)
            raise StoreError(f"a run has no axis {min(unknown)!r}; its axes are {names}")
        runs = self.runs
        for axis, value in axes.items():
            if not isinstance(value, str | Number):
                raise StoreError(f"{axis}={value!r}: give one value of each axis")
            known, runs = runs[axis].unique(), runs[runs[axis] == value]
            if runs.empty:
                raise StoreError(
                    f"no run has {axis} {value!r} here; there are {', '.join(map(str, known))}"
                )
        if len(runs) > 1:
            differing = [axis for axis in REFINED_AXES if runs[axis].nunique() > 1]
            raise StoreError(f"{len(runs)} runs have these axes; say {', '.join(differing)}, too")
        return str(runs["run_key"].iloc[0])

    def header(self, run: str) -> Header:
        """Return the small part of a run's record: spec, summary, metadata."""
        return read_header(self._record_path(run))

    def record(self, run: str) -> Record:
        """Return a run's whole record, compared with its digest."""
        return read_record(self._record_path(run))

    def _with_predictions(self, run: str) -> Record:
        record = self.record(run)
        if record.left_out:
            raise StoreError(f"{self.label} is slim: it has no predictions; ask for the whole one")
        return record

    def faults(self, record: Record) -> list[str]:
        """Return what is wrong with a record that was read, as ``medbench verify`` says it."""
        from medbench.runner.verification import record_faults

        return list(record_faults(self._record_path(record.header.key), record))

    def arrays(self, name: str, *wanted: str) -> Arrays:
        """Return some arrays of a record or a pretraining, without comparing its digest.

        Parameters
        ----------
        name : str
            A run, or the key of a pretraining.
        *wanted : str
            Names as docs/reference/records.md lists them; one that ends in ``/`` means all
            below. What is not there is left out.
        """
        key = self._key(name)
        if path := self._file(ResultsFolder.record_path, key):
            return read_arrays(path, wanted)
        if path := self._file(ResultsFolder.pretraining_path, key):
            return read_weights_arrays(path, wanted)
        raise self._not_done(key)

    def signature(self, run: str) -> str:
        """Return what changes whenever the file of a run's record changes."""
        stat = self._record_path(run).stat()
        return f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns} {stat.st_ino}"

    def fingerprint(self) -> str:
        """Return a hash that changes whenever anything changes that can be read here.

        Of records, pretrainings and attempts, size, times and inode count; of protocol and
        plan the content; of locks whether their holders are alive.

        Raises
        ------
        StoreError
            If a folder cannot be read.
        """
        total, suffixes = hashlib.sha256(), {**SUFFIXES, "attempts": ".json"}
        for folder in self._folders:
            texts = [folder.root / "medbench.json", folder.protocol_path, folder.plan_path]
            if folder.registration_path.is_file():
                texts.append(folder.registration_path)
            try:
                parts = [
                    folder.label,
                    [path.read_bytes() for path in texts],
                    [sorted(signatures_below(folder.root / n, end)) for n, end in suffixes.items()],
                    sorted((lock.key, lock.holder.gone()) for lock in folder.locks()),
                ]
            except OSError as error:
                raise StoreError(f"{folder.label} cannot be read: {error}") from error
            total.update(repr(parts).encode())
        return total.hexdigest()

    @property
    def cache(self) -> Path:
        """Folder for what is computed from the results and may be deleted at any time."""
        return self._folders[0].root / "index"

    def _record_path(self, run: str) -> Path:
        key = self._key(run)
        if (path := self._file(ResultsFolder.record_path, key)) is None:
            raise self._not_done(key)
        return path

    def _pretraining_path(self, name: str) -> Path:
        key = self._key(name)
        if found := self._file(ResultsFolder.pretraining_path, key):
            return found
        start = self.header(key).summary.get("pretraining")
        if not start:
            raise StoreError(f"run {key[:8]} starts from no pretraining, so it has no weights")
        if found := self._file(ResultsFolder.pretraining_path, start["key"]):
            return found
        raise StoreError(
            f"the weights of pretraining {start['key'][:8]} are not in {self.label}; "
            "`medbench bundle --weights` puts them into a bundle"
        )

    def _file(self, path_in: Callable[[ResultsFolder, str], Path], key: str) -> Path | None:
        """Return the first folder's file of a key, if any has one."""
        paths = (path_in(folder, key) for folder in self._folders)
        return next((path for path in paths if path.is_file()), None)

    def _not_done(self, key: str) -> StoreError:
        return StoreError(
            f"run {key[:8]} in {self.label} has no record: it is not done; `results.runs` shows "
            "its status"
        )

    def _key(self, name: str) -> str:
        """Return the key of which the first digits are given."""
        name = name.lower()
        if len(name) == 64:
            return name
        known = {run.key for folder in self._folders for run in folder.plan()}
        known |= {key for folder in self._folders for key in folder.done("pretrainings")}
        keys = [key for key in known if name and key.startswith(name)]
        if len(keys) != 1:
            many = f"{len(keys)} keys begin" if keys else "no key begins"
            raise StoreError(
                f"{many} with {name!r} in {self.label}; `results.runs` lists the keys and "
                "`results.find(method=..., seed=...)` finds one by its axes"
            )
        return keys[0]


def _protocol_of(folder: ResultsFolder) -> Protocol:
    from medbench.protocol.read import parse_protocol

    path = folder.protocol_path
    try:
        return parse_protocol(path.read_text(encoding="utf-8"), path.name)
    except (OSError, UnicodeDecodeError, ProtocolError) as error:
        raise StoreError(
            f"{path} cannot be read ({error}); `medbench run` with the same protocol and folder "
            "writes it and repeats no finished run"
        ) from error


def _declared(protocol: Protocol) -> dict[str, Any]:
    """Return what must be the same in protocols whose results are put together."""
    of_runs = protocol.evaluation.model_dump(include={"primary", "last_epochs"})
    return {"name": protocol.name, **of_runs, **protocol.statistics.model_dump()}

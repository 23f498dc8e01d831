"""Given labels: noisy labels that somebody made, read from a CSV file."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from pydantic import Field, model_validator

from medbench.errors import MedbenchError
from medbench.interfaces.noise import CleanLabels, NoiseModel
from medbench.interfaces.settings import Settings
from medbench_plugins.noise.files import read_file
from medbench_plugins.noise.limits import check, required

#: Largest file read, in bytes: some millions of labels.
LARGEST_FILE = 512 * 1024**2

#: How far the protocol's rate may be from the share of labels that are wrong.
RATE_TOLERANCE = 0.05

_COLUMNS = "two columns named id and label (others are not read)"


class GivenSettings(Settings):
    """Settings of :class:`Given`: a file for all datasets, or one for each.

    The files' SHA-256 are taken when the settings are read, and are part of the run
    key, as the paths are: other labels are other runs.
    """

    file: str | None = Field(
        None,
        description=f"CSV of labels, {_COLUMNS}; a label is a class's name or number. A relative "
        "path counts from the working directory",
    )
    files: dict[str, str] = Field(default_factory=dict, description="such files by dataset name")
    sha256: dict[str, str] = Field(
        default_factory=dict, description="of each file by its path; filled in when it is read"
    )

    @model_validator(mode="before")
    @classmethod
    def _hash(cls, values: Any) -> Any:
        """Fill in the files' hashes, unless they are known: then they are what is asked for."""
        if not isinstance(values, Mapping) or values.get("sha256"):
            return values
        named = [values.get("file"), *(dict(values.get("files") or {}).values())]
        paths = sorted({path for path in named if isinstance(path, str)})
        return {**values, "sha256": {path: _sha256(_content(path)) for path in paths}}


class Given(NoiseModel):
    """Labels as somebody gave them: annotators, a program, or `medbench labels` elsewhere.

    Nothing is drawn: all seeds meet the same labels, on whichever images they
    draw. There is no transition matrix; the realised one is in the record.
    The protocol's rate is what methods that ask for it get, so it must be
    the share of labels that are wrong, within .05.

    References
    ----------
    Of medbench itself, 2026: whose labels they are, the protocol says.
    """

    Settings = GivenSettings
    settings: GivenSettings

    def transition_matrix(self, class_names: tuple[str, ...], dataset: str, rate: float) -> None:
        """Return ``None``: there is none. Raise if no file is named for the dataset."""
        check(self.name, class_names, dataset, rate)
        self._path(dataset)

    def corrupt(self, data: CleanLabels, rate: float, rng: Generator) -> NDArray[np.int64]:
        """Look the labels up by the samples' ids; the generator is not used.

        Raises
        ------
        MedbenchError
            If the file changed since the run was planned, lacks a sample, names an
            unknown class, or is wrong at another rate than the protocol's.
        """
        path = self._path(data.dataset)
        content = _content(path)
        if _sha256(content) != self.settings.sha256.get(path):
            raise MedbenchError(f"{path} has changed since this run was planned; run it again")
        labels = _read_labels(path, content, data.class_names)
        missing = [name for name in data.ids.tolist() if name not in labels]
        if missing:
            raise MedbenchError(
                f"{path}: no label for {len(missing)} of {len(data.ids)} samples of dataset "
                f"{data.dataset!r}, {missing[0]!r} among them; add them, or let the protocol use "
                "fewer images"
            )
        noisy = np.array([labels[name] for name in data.ids.tolist()], np.int64)
        realised = float(np.mean(noisy != data.labels)) if len(noisy) else rate
        if abs(realised - rate) > RATE_TOLERANCE:
            raise MedbenchError(
                f"{path}: {realised:.2f} of the labels used are wrong, the protocol's rate is "
                f"{rate:g}; write {realised:.2f} in grid.rates"
            )
        return noisy

    def _path(self, dataset: str) -> str:
        path = self.settings.files.get(dataset, self.settings.file)
        where = f"'file', or 'files.{dataset}', to the path of a CSV"
        return required(path, self.name, dataset, "labels", where)


def _content(path: str) -> bytes:
    return read_file(path, LARGEST_FILE, "a CSV of labels")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read_labels(path: str, content: bytes, class_names: tuple[str, ...]) -> dict[str, int]:
    """Return the label of each id.

    Raises
    ------
    MedbenchError
        In one line, with file, line and fix.
    """
    known = {str(label): label for label in range(len(class_names))}
    known |= {name: label for label, name in enumerate(class_names)}  # a name goes before a number
    labels: dict[str, int] = {}
    try:
        reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        if not {"id", "label"} <= set(reader.fieldnames or ()):
            found = ", ".join(reader.fieldnames or ()) or "nothing"
            raise MedbenchError(f"{path}: its first line holds {found}; expected {_COLUMNS}")
        for row in reader:
            name, label = (str(row[column] or "").strip() for column in ("id", "label"))
            where = f"{path} line {reader.line_num}"
            if label not in known:
                classes = ", ".join(map(repr, class_names))
                raise MedbenchError(
                    f"{where}: label {label!r} is no class; give one of {classes}, or 0 to "
                    f"{len(class_names) - 1}"
                )
            if labels.setdefault(name, known[label]) != known[label]:
                raise MedbenchError(f"{where}: a second label for {name!r}; keep one")
    except (UnicodeDecodeError, csv.Error) as error:
        raise MedbenchError(f"{path} is no CSV in UTF-8 ({error}); expected {_COLUMNS}") from error
    return labels

"""Corrected versions of a dataset, and the decisions they follow from.

Version 1 of a dataset is its file ``NAME.h5``. Each batch of decisions makes the next version,
a dataset file ``NAME@2.h5``, ``NAME@3.h5``, ... of its own content hash, and is appended to
``NAME.decisions.csv`` next to it, one row for each decision:

================  ===========================================================
column            content
================  ===========================================================
``version``       number of the version that the decision makes
``id``            id of the image
``was``           class before
``label``         class after; the same where a reviewer keeps the label
``who``           who decided
``when``, ``why`` as the reviewer wrote them
``undoes``        number of the version that an undo takes back, else empty
``from``          content hash of the version before
``content_hash``  content hash of the version
================  ===========================================================

No row is ever changed: an undo appends the labels as they were.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medbench.data.audit import audited, findings
from medbench.data.hashing import Fingerprints
from medbench.data.hdf5_reading import open_images, read_card
from medbench.data.hdf5_writing import Columns, ImageBatch, ImagesWriter
from medbench.data.samples import Progress
from medbench.data.sources import check_space, locked
from medbench.errors import MedbenchError
from medbench.interfaces.dataset import DatasetCard
from medbench.store.atomic import write_text

_BLOCK_BYTES = 16 * 1024**2

_COLUMNS = (
    *("version", "id", "was", "label", "who", "when", "why", "undoes", "from", "content_hash"),
)


class CorrectionError(MedbenchError):
    """Decisions that cannot be applied; nothing was changed."""


@dataclass(frozen=True)
class Decision:
    """A reviewer's decision about the label of one image, or the undo of one.

    Parameters
    ----------
    id : str
        Id of the image.
    was, label : str
        Class before and after.
    who, when, why : str
        As the reviewer wrote them.
    version : int
        Number of the version that it makes; 0 until it is applied.
    undoes : int
        Number of the version that is taken back; 0 if it is no undo.
    """

    id: str
    was: str
    label: str
    who: str
    when: str = ""
    why: str = ""
    version: int = 0
    undoes: int = 0


@dataclass(frozen=True)
class Version:
    """A version of a dataset: its number, its content hash and the decisions that made it."""

    number: int
    content_hash: str
    decisions: tuple[Decision, ...] = ()

    @property
    def undoes(self) -> int:
        """Number of the version that this one takes back, or 0."""
        return self.decisions[0].undoes if self.decisions else 0


class History:
    """The versions of a dataset, which are called as its file is.

    Parameters
    ----------
    base : pathlib.Path
        The dataset file of version 1.

    Raises
    ------
    CorrectionError
        If the decisions were made for other data, or their file is damaged.
    DatasetFileError
        If the dataset file is missing or damaged.
    """

    def __init__(self, base: Path) -> None:
        self.base, self.name = base, base.stem
        self.file = base.with_name(f"{base.stem}.decisions.csv")
        self.card = read_card(base)
        self.versions = (Version(1, self.card.content_hash), *_read_versions(self.file))
        for before, after in zip(self.versions, self._sources(), strict=False):
            if before.content_hash != after:
                raise CorrectionError(
                    f"{self.file}: was made for other data than {base}, which has been prepared"
                    " again; move the decisions away, or restore the dataset file"
                )

    @property
    def latest(self) -> Version:
        """The newest version."""
        return self.versions[-1]

    def name_of(self, version: int) -> str:
        """Return the name of a version as a dataset: ``NAME`` or ``NAME@2``."""
        return self.name if version == 1 else f"{self.name}@{version}"

    def path_of(self, version: int) -> Path:
        """Return the dataset file of a version."""
        return self.base.with_name(f"{self.name_of(version)}.h5")

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Ids of the images."""
        with open_images(self.base) as data:
            return tuple(data.ids.tolist())

    def labels(self, version: int) -> dict[str, str]:
        """Return the class of each image in a version, by id."""
        names = self.card.class_names
        with open_images(self.base) as data:
            labels = {
                name: names[label]
                for name, label in zip(data.ids.tolist(), data.labels.tolist(), strict=True)
            }
        for made in self.versions[:version]:
            labels |= {decision.id: decision.label for decision in made.decisions}
        return labels

    def standing(self) -> dict[str, tuple[Decision, ...]]:
        """Return the decisions that no undo has taken back, by image."""
        found: dict[str, tuple[Decision, ...]] = {}
        for version in self._applied():
            for decision in version.decisions:
                found[decision.id] = (*found.get(decision.id, ()), decision)
        return found

    def correct(self, decisions: Sequence[Decision], progress: Progress) -> Version:
        """Make the next version.

        Parameters
        ----------
        decisions : sequence of Decision
            Checked decisions; see :func:`read_corrections`.
        progress : callable
            Called with the numbers of images copied and of all images.

        Raises
        ------
        CorrectionError
            If no label changes, or another process corrects the dataset.
        """
        before = self.labels(self.latest.number)
        if before == before | {decision.id: decision.label for decision in decisions}:
            raise CorrectionError(
                f"{self.name_of(self.latest.number)}: no label changes, so no version is made; keep"
                " the file of decisions"
            )
        return self._append(decisions, progress)

    def undo(self, who: str, when: str, progress: Progress) -> Version:
        """Make a version with the labels from before the newest version that still counts.

        Raises
        ------
        CorrectionError
            If there is nothing to undo.
        """
        applied = self._applied()
        if not applied:
            raise CorrectionError(f"{self.name}: no decision to undo in {self.file}")
        last = applied[-1]
        first = {d.id: d for d in reversed(last.decisions)}
        now = self.labels(self.latest.number)
        taken_back = [
            Decision(d.id, now[d.id], d.was, who, when, f"undo of {self.name_of(last.number)}",
                     undoes=last.number)
            for d in first.values()
        ]  # fmt: skip
        return self._append(taken_back, progress)

    def restore(self, version: int, progress: Progress) -> Path:
        """Write the file of a version again if it is missing, and return its path."""
        path = self.path_of(version)
        if not path.exists():
            labels, before = self.labels(version), self.card
            _write_version(path, self.base, self._named(version, before), labels, progress)
        return path

    def _applied(self) -> list[Version]:
        """Return the versions that no undo has taken back, undos left out."""
        applied: list[Version] = []
        for version in self.versions[1:]:
            if version.undoes:
                applied.pop()
            else:
                applied.append(version)
        return applied

    def _append(self, decisions: Sequence[Decision], progress: Progress) -> Version:
        number = self.latest.number + 1
        busy = f"{self.name} is being corrected by another process; wait for it"
        with locked(self.file.with_suffix(".lock"), busy):
            if len(History(self.base).versions) != len(self.versions):
                raise CorrectionError(f"{self.name} was corrected meanwhile; run the command again")
            labels = self.labels(self.latest.number) | {d.id: d.label for d in decisions}
            card = self._named(number, self.card)
            card = _write_version(self.path_of(number), self.base, card, labels, progress)
            numbered = tuple(replace(decision, version=number) for decision in decisions)
            version = Version(number, card.content_hash, numbered)
            old = self.file.read_text("utf-8") if self.file.exists() else _csv([_COLUMNS])
            rows = [_row(each, self.latest.content_hash, card.content_hash) for each in numbered]
            write_text(self.file, old + _csv(rows))
        self.versions = (*self.versions, version)
        return version

    def _named(self, version: int, card: DatasetCard) -> DatasetCard:
        reviewers = f"{self.name_of(version)}: labels corrected, see {self.file.name}."
        return replace(card, name=self.name_of(version), confounders=(*card.confounders, reviewers))

    def _sources(self) -> list[str]:
        """Return the content hash that each batch of decisions was made for."""
        rows = _read_rows(self.file)
        return list({int(row["version"]): row["from"] for row in rows}.values())


def read_corrections(
    files: Sequence[tuple[str, str]], history: History, when: str, *, overrule: bool = False
) -> tuple[list[Decision], list[str]]:
    """Read and check reviewers' CSV files.

    Parameters
    ----------
    files : sequence of (str, str)
        Name and text of each file. Columns ``id``, ``label`` (a class) and ``who``; optionally
        ``when``, ``why``, and ``content_hash`` of the version that the reviewer saw.
    history : History
        The dataset.
    when : str
        Time of the decisions without one.
    overrule : bool
        Whether the last of several reviewers who disagree counts.

    Returns
    -------
    decisions : list of Decision
        In the order of the files.
    notes : list of str
        What the user should know.

    Raises
    ------
    CorrectionError
        If an id is unknown or decided twice by one reviewer, a label is no class, reviewers
        disagree, or a file was made for another version of the dataset.
    """
    labels = history.labels(history.latest.number)
    earlier = {name: list(made) for name, made in history.standing().items()}
    decisions: list[Decision] = []
    notes: list[str] = []
    disagreements: list[str] = []
    seen: dict[tuple[str, str], str] = {}
    for name, text in files:
        rows = list(_corrections(name, text))
        notes += _check_version(name, rows, history)
        for where, row in rows:
            _check_row(where, row, labels, history)
            if before := seen.get((row["id"], row["who"])):
                also = "" if before.startswith(f"{name}, ") else f", in {before}, too"
                raise CorrectionError(f"{where}: id {row['id']!r} twice{also}; keep one of them")
            seen[row["id"], row["who"]] = where
            made = Decision(
                row["id"], labels[row["id"]], row["label"], row["who"], row["when"] or when,
                row["why"],
            )  # fmt: skip
            others = {d.who: d.label for d in earlier.get(made.id, [])}
            disagreements += [
                f"{made.id!r}: {who} says {label}, {made.who} says {made.label}"
                for who, label in others.items()
                if who != made.who and label != made.label
            ]
            earlier.setdefault(made.id, []).append(made)
            labels[made.id] = made.label
            decisions.append(made)
    if disagreements and not overrule:
        more = f" and {len(disagreements) - 3} more" if len(disagreements) > 3 else ""
        raise CorrectionError(
            f"{files[-1][0]}: reviewers disagree on {len(disagreements)} images:"
            f" {'; '.join(disagreements[:3])}{more}; agree on one label, or let the last one"
            " count with --overrule"
        )
    return decisions, notes


def changes_of(version: Version) -> Counter[tuple[str, str]]:
    """Return how many labels of a class became another, by both classes."""
    first: dict[str, str] = {}
    last: dict[str, str] = {}
    for decision in version.decisions:
        first.setdefault(decision.id, decision.was)
        last[decision.id] = decision.label
    return Counter((first[name], last[name]) for name in first if first[name] != last[name])


def _corrections(name: str, text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield each row of a reviewer's file, with the place that messages name."""
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""))
    columns = [column.strip().lower() for column in reader.fieldnames or ()]
    if missing := {"id", "label", "who"} - set(columns):
        raise CorrectionError(
            f"{name}: no column {' and '.join(sorted(missing))};"
            f" found {', '.join(columns) or 'nothing'}; a file of corrections has the columns id,"
            " label, who, and optionally when and why, with commas between them"
        )
    if twice := sorted({column for column in columns if columns.count(column) > 1}):
        raise CorrectionError(f"{name}: the column {twice[0]} is there more than once")
    reader.fieldnames = columns
    empty = True
    try:
        for values in reader:
            if None in values:
                raise CorrectionError(
                    f"{name}, line {reader.line_num}: more fields than columns; put quotes around"
                    " a text with a comma"
                )
            row = {column: (values.get(column) or "").strip() for column in columns}
            row = dict.fromkeys(("when", "why", "content_hash"), "") | row
            empty = False
            yield f"{name}, line {reader.line_num}", row
    except csv.Error as error:
        raise CorrectionError(f"{name}, line {reader.line_num}: no CSV ({error})") from error
    if empty:
        raise CorrectionError(f"{name}: holds no decision; nothing was changed")


def _check_version(
    name: str, rows: Sequence[tuple[str, Mapping[str, str]]], history: History
) -> list[str]:
    """Refuse a file for other data; say so if it was made for an older version."""
    known = {version.content_hash: version.number for version in reversed(history.versions)}
    for content_hash in {row["content_hash"] for _, row in rows} - {""}:
        if content_hash not in known:
            raise CorrectionError(
                f"{name}: made for other data ({content_hash[:12]}) than {history.name} and its"
                f" {len(history.versions)} versions; run `medbench suspects --dataset"
                f" {history.name_of(history.latest.number)}` and review again"
            )
        if content_hash != history.latest.content_hash:
            seen = history.name_of(known[content_hash])
            return [f"{name}: made for {seen}, applied to {history.name_of(history.latest.number)}"]
    return []


def _check_row(
    where: str, row: Mapping[str, str], labels: Mapping[str, str], history: History
) -> None:
    if row["id"] not in labels:
        raise CorrectionError(
            f"{where}: no image of {history.name} has the id {row['id']!r}; ids are in suspects.csv"
        )
    if row["label"] not in history.card.class_names:
        classes = ", ".join(history.card.class_names)
        raise CorrectionError(f"{where}: {row['label']!r} is no class; classes are {classes}")
    if not row["who"]:
        raise CorrectionError(f"{where}: who is empty; say who decided")


def _write_version(
    path: Path, base: Path, card: DatasetCard, labels: Mapping[str, str], progress: Progress
) -> DatasetCard:
    """Write a copy of a dataset file with other labels, and audit it."""
    codes = {name: code for code, name in enumerate(card.class_names)}
    with open_images(base) as data:
        count = len(data.ids)
        size = int(np.prod(card.image_shape))
        check_space(path, count * size)
        ids = data.ids.tolist()
        groups = None if data.groups is None else data.groups.tolist()
        columns = Columns([codes[labels[name]] for name in ids], data.split, ids, groups)
        seen = []
        with ImagesWriter(path, card.image_shape, count, gzip_level=0) as writer:
            for rows in _blocks(count, max(1, _BLOCK_BYTES // size)):
                images = data.images[rows]
                masks = None if data.masks is None else data.masks[rows]
                writer.append(ImageBatch(images, masks))
                seen.append(Fingerprints.of(images))
                progress(rows.stop, count)
            card = _audited_again(card, columns, Fingerprints.concatenate(seen), writer.image)
            return writer.finish(card, columns)


def _audited_again(
    card: DatasetCard,
    columns: Columns,
    fingerprints: Fingerprints,
    image: Callable[[int], NDArray[np.uint8]],
) -> DatasetCard:
    """Return the card with an audit of the new labels in place of the old one."""
    if not card.audit:
        return card
    old = findings(card.audit)
    bare = replace(card, confounders=tuple(c for c in card.confounders if c not in old))
    found = audited(bare, columns, fingerprints, image)
    audit = {**card.audit, **found.audit, "unreadable": card.audit["unreadable"]}
    return replace(bare, audit=audit, confounders=(*bare.confounders, *findings(audit)))


def _blocks(count: int, rows: int) -> Iterator[slice]:
    return (slice(first, min(first + rows, count)) for first in range(0, count, rows))


def _read_versions(file: Path) -> Iterator[Version]:
    made: dict[int, list[Decision]] = {}
    hashes: dict[int, str] = {}
    for row in _read_rows(file):
        number = int(row["version"])
        values = {name: row[name] for name in ("id", "was", "label", "who", "when", "why")}
        decision = Decision(**values, version=number, undoes=int(row["undoes"] or 0))
        made.setdefault(number, []).append(decision)
        hashes[number] = row["content_hash"]
    for number, decisions in made.items():
        yield Version(number, hashes[number], tuple(decisions))


def _read_rows(file: Path) -> list[dict[str, str]]:
    if not file.exists():
        return []
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        if any(None in row or None in row.values() or not row["version"].isdigit() for row in rows):
            raise ValueError("a row is not whole")
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise CorrectionError(
            f"{file}: damaged file of decisions ({error}); restore it from a copy"
        ) from error
    return rows


def _row(decision: Decision, before: str, content_hash: str) -> tuple[str, ...]:
    values = asdict(decision) | {"from": before, "content_hash": content_hash}
    values["undoes"] = decision.undoes or ""
    return tuple(str(values[name]) for name in _COLUMNS)


def _csv(rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()

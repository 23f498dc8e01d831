"""The user's own images: a folder or archive becomes a dataset without writing code."""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

from medbench.data import (
    IMAGE_SUFFIXES,
    DatasetIndex,
    FilesDataset,
    LayoutError,
    Prepared,
    PrepareOptions,
    Progress,
    RefusedError,
    Sample,
    SourceFile,
    UnreadableError,
    joined,
    list_sources,
    read_bytes,
    stratified_split,
    summarize_files,
)
from medbench.interfaces.dataset import SPLITS, DataContext, DatasetCard

#: Names of split folders and of values in the column ``split``, in lower case.
SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}

#: Shares of the splits, if the user gives none.
SHARES = {"test": 0.2, "validation": 0.1}

#: Columns of a CSV file that are used.
_COLUMNS = ("path", "label", "split", "group", "trusted")

#: Values of the column ``trusted``, in lower case.
_TRUST_WORDS = {
    **dict.fromkeys(("yes", "true", "1"), True),
    **dict.fromkeys(("", "no", "false", "0"), False),
}

_EXPECTED = (
    "expected CLASS/*.png, or SPLIT/CLASS/*.png (SPLIT one of train, val, test), or a CSV file"
    " with the columns path and label, and optionally split, group and trusted; images are"
    f" {', '.join(sorted(IMAGE_SUFFIXES))}"
)


@dataclass(frozen=True)
class Row:
    """One image, as folders or table describe it; ``""`` is unknown."""

    file: SourceFile
    label: str
    split: str = ""
    group: str = ""
    trusted: bool = False
    copies: int | None = None  # number of the set of copies that it is in


class FolderDataset(FilesDataset):
    """The user's own images, in class folders or with a CSV file.

    ``medbench data prepare folder:NAME SOURCE`` prepares it, and a protocol
    uses it as ``NAME`` with ``[datasets.NAME] plugin = "folder"``. SOURCE is a
    folder, a zip archive, or the CSV file itself:

    - ``CLASS/image.png``; a further level ``CLASS/GROUP/image.png`` names the
      patient, with any levels below it;
    - ``SPLIT/CLASS/image.png`` or ``SPLIT/CLASS/GROUP/image.png``;
    - a CSV file with the columns ``path`` (relative to it) and ``label``, and
      optionally ``split`` (train, val, test), ``group`` (the patient) and ``trusted``
      (yes, no or empty: whether the label is known to be true).

    Labels may be wrong, unless ``--trusted`` names their split or all images of their split
    are trusted in the CSV file.

    SPLIT is train, val or test, or a word for it such as Training or Testing. Without splits, a
    fifth of each class becomes test and a tenth validation, groups and copies kept together;
    without a validation split only, a tenth of training becomes it. In a given split, copies of
    training images, with their groups, are moved from validation and test to training.
    """

    plugin = "folder"
    needs_name = True
    labels_trusted = False
    duplicates = "group"

    def find_files(self, sources: Sequence[Path]) -> list[SourceFile]:
        """List the files of the sources; of a CSV file, those of its folder."""
        found: list[SourceFile] = []
        for source in sources:
            if source.suffix.lower() == ".csv" and source.is_file():
                files = list_sources([source.parent])
                found += [f for f in files if f.suffix != ".csv" or f.name == source.name]
            else:
                found += list_sources([source])
        return found

    def prepare(
        self,
        sources: Sequence[Path],
        context: DataContext,
        options: PrepareOptions,
        progress: Progress,
    ) -> Prepared:
        """Prepare the images, and write a protocol to start with next to the file."""
        prepared = super().prepare(sources, context, options, progress)
        path = context.cache / f"{prepared.card.name}.toml"
        text, notes = protocol_text(prepared.card), prepared.notes
        if not path.exists():
            path.write_text(text, encoding="utf-8")
        elif path.read_text(encoding="utf-8") != text:
            notes = (
                *notes,
                f"{path} is there already and stays; it differs from what is written for these"
                " images: for that, remove it and prepare them again",
            )
        return replace(prepared, protocol=path, notes=notes)

    def index(self, files: Sequence[SourceFile]) -> DatasetIndex:
        """Return the images as the CSV file says, or else as the folders say."""
        images = [file for file in files if file.suffix in IMAGE_SUFFIXES]
        tables, elsewhere = _tables(files, images)
        if len(tables) > 1:
            named = ", ".join(file.name for file in tables)
            raise LayoutError(f"several CSV files ({named}); give the one to use as SOURCE")
        notes = _left_out(files, images, elsewhere)
        if tables:
            rows, unused = _rows_of_table(tables[0], images)
            if unused:
                notes.append(f"columns of {tables[0].name} not used: {', '.join(unused)}")
            if left := len(images) - len(rows):
                notes.append(f"{left} images that {tables[0].name} does not list are left out")
        else:
            rows = _rows_of_folders(files, images)
        found, (rows, confounders) = rows, _with_splits(rows)
        class_names = tuple(sorted({row.label for row in rows}))
        _refuse_single(rows)
        notes += _absent(rows, class_names)
        trusted = _trusted_splits(rows, notes)
        label_of = {name: label for label, name in enumerate(class_names)}
        several = len({row.file.container for row in rows}) > 1
        ids = {row.file: "/".join(row.file.parts) if several else row.file.name for row in rows}
        if twice := [name for name, count in Counter(ids.values()).items() if count > 1]:
            raise LayoutError(
                f"{twice[0]} is in several sources of the same name; give the folder that holds"
                " them, or rename one"
            )
        samples = [
            Sample(row.file, label_of[row.label], row.split, ids[row.file], row.group)
            for row in rows
        ]
        samples.sort(key=lambda sample: sample.id)

        def split_again(copies: Mapping[str, int]) -> dict[str, str]:
            marked = [replace(row, copies=copies.get(ids[row.file])) for row in found]
            return {ids[row.file]: row.split for row in _with_splits(marked)[0]}

        card = replace(self._card(class_names, rows, confounders), trusted=trusted)
        return DatasetIndex(card, samples, notes=notes, split_again=split_again)

    def _card(
        self, class_names: tuple[str, ...], rows: Sequence[Row], confounders: Sequence[str]
    ) -> DatasetCard:
        grouped = any(row.group for row in rows)
        return self.draft_card(
            title=f"{self.name}: the user's own images",
            modality="not stated",
            class_names=class_names,
            licence="not stated",
            citation="not stated",
            source="the user's own images",
            confounders=(*confounders, *(() if grouped else (_UNGROUPED,))),
            group_meaning="patient or other group, as the user states" if grouped else "",
        )


_UNGROUPED = "No patient ids: images of one patient may be in several splits."


def _rows_of_folders(files: Sequence[SourceFile], images: Sequence[SourceFile]) -> list[Row]:
    trees = [(file, file.name.split("/")[:-1]) for file in images]
    # an archive or folder may hold everything in one more folder
    while trees and all(tree and tree[0] == trees[0][1][0] for _, tree in trees):
        if trees[0][1][0].lower() in SPLIT_WORDS:
            break
        trees = [(file, tree[1:]) for file, tree in trees]
    tops = {tree[0] for _, tree in trees if tree}
    words = {SPLIT_WORDS[top.lower()] for top in tops if top.lower() in SPLIT_WORDS}
    splits = bool(trees) and all(tree and tree[0].lower() in SPLIT_WORDS for _, tree in trees)
    if "train" in words and not splits:
        others = sorted(top for top in tops if top.lower() not in SPLIT_WORDS)
        raise LayoutError(
            f"folders are named like splits, but not {', '.join(others[:3]) or 'all'}: move others"
            f" away, or rename; {_EXPECTED}"
        )
    rows = []
    for file, tree in trees:
        split, rest = (SPLIT_WORDS[tree[0].lower()], tree[1:]) if splits else ("", tree)
        if not rest:
            raise LayoutError(f"{file.where}: is in no class folder; {_EXPECTED}")
        rows.append(Row(file, rest[0], split, "".join(rest[1:2])))
    if not rows:
        raise LayoutError(f"no image: {summarize_files(files)}; {_EXPECTED}")
    return rows


def _rows_of_table(table: SourceFile, images: Sequence[SourceFile]) -> tuple[list[Row], list[str]]:
    """Return the rows of a CSV file, and its columns that are not used."""
    try:
        text = read_bytes(table).decode("utf-8-sig")
    except (UnreadableError, UnicodeDecodeError) as error:
        raise LayoutError(f"{table.where}: cannot be read as UTF-8 text ({error})") from error
    reader = csv.DictReader(io.StringIO(text, newline=""))
    columns = [column.strip().lower() for column in reader.fieldnames or ()]
    missing = {"path", "label"} - set(columns)
    if missing:
        raise LayoutError(
            f"{table.where}: no column {' and '.join(sorted(missing))};"
            f" found {', '.join(columns) or 'nothing'}; {_EXPECTED}"
        )
    if twice := [column for column in _COLUMNS if columns.count(column) > 1]:
        raise LayoutError(f"{table.where}: the column {twice[0]} is there more than once")
    reader.fieldnames = columns
    above = _folder_of(table)
    by_name = {
        file.name.removeprefix(above): file
        for file in images
        if file.container == table.container and file.name.startswith(above)
    }
    rows: dict[str, Row] = {}
    try:
        for values in reader:
            where = f"{table.where}, line {reader.line_num}"
            if None in values:
                raise LayoutError(
                    f"{where}: more fields than columns; put quotes around a text with a comma"
                )
            row = _row(values, by_name, where)
            if row.file.name in rows:
                raise LayoutError(f"{where}: {row.file.name} is listed twice")
            rows[row.file.name] = row
    except csv.Error as error:
        raise LayoutError(f"{table.where}, line {reader.line_num}: {error}") from error
    if not rows:
        raise LayoutError(f"{table.where}: lists no image; {_EXPECTED}")
    unused = [c for c in columns if c not in _COLUMNS]
    return list(rows.values()), unused


def _row(
    values: Mapping[str | None, str | None], by_name: Mapping[str, SourceFile], where: str
) -> Row:
    given = {key: (values.get(key) or "").strip() for key in _COLUMNS}
    path = given["path"].replace("\\", "/").removeprefix("./")
    if path.startswith("/") or path[1:2] == ":" or ".." in path.split("/"):
        raise RefusedError(f"{where}: path {given['path']!r} leaves the folder of the CSV file")
    if path not in by_name:
        raise LayoutError(f"{where}: there is no image {given['path']!r} next to the CSV file")
    if not given["label"]:
        raise LayoutError(f"{where}: no label; give each image one")
    if given["split"] and given["split"].lower() not in SPLIT_WORDS:
        raise LayoutError(f"{where}: split {given['split']!r}; it is train, val, test or empty")
    split = SPLIT_WORDS.get(given["split"].lower(), "")
    trusted = given["trusted"].lower()
    if trusted not in _TRUST_WORDS:
        raise LayoutError(f"{where}: trusted {given['trusted']!r}; it is yes, no or empty")
    return Row(by_name[path], given["label"], split, given["group"], _TRUST_WORDS[trusted])


def _folder_of(file: SourceFile) -> str:
    """Return the folder that a file is in, with a slash at its end, or nothing."""
    above, slash, _ = file.name.rpartition("/")
    return above + slash


def _tables(
    files: Sequence[SourceFile], images: Sequence[SourceFile]
) -> tuple[list[SourceFile], list[SourceFile]]:
    """Return the CSV files whose folder holds all images, and the others."""
    found = [file for file in files if file.suffix == ".csv"]
    depth = min((file.name.count("/") for file in found), default=0)
    first = [file for file in found if file.name.count("/") == depth]
    around = [f for f in first if all(image.name.startswith(_folder_of(f)) for image in images)]
    return around, [file for file in found if file not in around]


def _left_out(
    files: Sequence[SourceFile], images: Sequence[SourceFile], tables: Sequence[SourceFile]
) -> list[str]:
    """Say which files are not used: images of another format may be among them."""
    notes, used = [], {*images}
    others = [file for file in files if file not in used and file.suffix != ".csv"]
    if others:
        counts = Counter(file.suffix or "no ending" for file in others)
        named = ", ".join(f"{count} {suffix}" for suffix, count in counts.most_common(5))
        notes.append(
            f"{len(others)} files left out ({named}), such as {others[0].name}; images end in"
            f" {', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    if tables:
        notes.append(
            f"{len(tables)} CSV files not used, such as {tables[0].name}; to use one, give it as"
            " SOURCE"
        )
    return notes


def _absent(rows: Sequence[Row], class_names: Sequence[str]) -> list[str]:
    """Say which classes have no image in a split."""
    there = {(row.split, row.label) for row in rows}
    missing = {
        split: [name for name in class_names if (split, name) not in there] for split in SPLITS
    }
    return [
        f"no {split} image of class {', '.join(names[:5])}{' and others' if names[5:] else ''}"
        for split, names in missing.items()
        if names and any(row.split == split for row in rows)
    ]


def _refuse_single(rows: Sequence[Row]) -> None:
    """Refuse a class with one image: it can be learned or tested, not both."""
    for label, count in Counter(row.label for row in rows).items():
        if count == 1:
            row = next(row for row in rows if row.label == label)
            raise LayoutError(
                f"{row.file.where}: is the only image of class {label!r}, which cannot be in"
                " training and test; add images of it, or leave it out"
            )


def _trusted_splits(rows: Sequence[Row], notes: list[str]) -> tuple[str, ...]:
    """Return the splits of which all labels are trusted; note those of which only some are."""
    trusted = []
    for split in SPLITS:
        told = [row.trusted for row in rows if row.split == split]
        if told and all(told):
            trusted.append(split)
        elif any(told):
            notes.append(
                f"{sum(told)} of {len(told)} {split} labels are trusted: the split is not,"
                " for all must be"
            )
    return tuple(trusted)


def _with_splits(rows: Sequence[Row]) -> tuple[list[Row], list[str]]:
    """Split images that have no split; return what the card says about it."""
    given = {row.split for row in rows}
    if given == {""}:
        return _split(rows, SHARES), [
            f"The split was made by medbench (seed 0): {SHARES['test']:.0%} test,"
            f" {SHARES['validation']:.0%} validation, stratified by class"
            f"{', groups kept together' if any(row.group for row in rows) else ''}."
        ]
    if "" in given:
        bare = next(row for row in rows if not row.split)
        raise LayoutError(f"{bare.file.where}: has no split, others have; give all one, or none")
    rows = _copies_together(rows)
    if "validation" in given:
        return list(rows), []
    training = _split([row for row in rows if row.split == "train"], {"validation": 0.1})
    return [*training, *(row for row in rows if row.split != "train")], [
        "The validation split was made by medbench (seed 0): a tenth of the training images,"
        " stratified by class."
    ]


def _copies_together(rows: Sequence[Row]) -> list[Row]:
    """Move copies, and their groups, to the first of their splits: from test to training, say."""
    found: list[Row] = []
    for of in _together(rows).values():
        splits_of = defaultdict(set)
        for row in of:
            splits_of[row.copies].add(row.split)
        apart = any(len(splits) > 1 for copies, splits in splits_of.items() if copies is not None)
        first = min((row.split for row in of), key=list(SPLITS).index)
        found += [replace(row, split=first) for row in of] if apart else of
    return found


def _split(rows: Sequence[Row], shares: Mapping[str, float]) -> list[Row]:
    """Assign rows to splits; images of a group and copies follow the label of the first one."""
    members = _together(rows)
    labels = {name: label for label, name in enumerate(sorted({row.label for row in rows}))}
    splits = stratified_split({name: labels[of[0].label] for name, of in members.items()}, shares)
    return [replace(row, split=splits[name]) for name, of in members.items() for row in of]


def _together(rows: Sequence[Row]) -> Mapping[str, list[Row]]:
    """Return the rows that groups and copies join, by the first name of each such set."""
    rows = sorted(rows, key=lambda row: row.file.name)
    names = [f"group/{row.group}" if row.group else f"image/{row.file.name}" for row in rows]
    members: defaultdict[str, list[Row]] = defaultdict(list)
    together = joined(
        [
            [name] if row.copies is None else [name, row.copies]
            for name, row in zip(names, rows, strict=True)
        ]
    )
    for row, first in zip(rows, together, strict=True):
        members[names[first]].append(row)
    return members


#: What the first protocol takes of a dataset at most: images by split, and pixels a side.
_FIRST_IMAGES = {"train": 480, "validation": 96, "test": 320}
_FIRST_SIZE, _FIRST_EPOCHS = 32, 15

#: Minutes that it takes on two cores with 480 training images of 32 px, as measured.
_FIRST_MINUTES = 4

#: Seeds with which two comparisons of methods, and one of pretraining, can be decided: exact tests
#: over 7 pairs have p from 2^-6 on, times 2 by Holm's procedure.
_SEEDS = list(range(7))


def protocol_text(card: DatasetCard) -> str:
    """Return a protocol to start with for a prepared dataset.

    Its entrants ask nothing of the oracle, and its seeds can decide its questions.
    """
    too_large = [s for s, most in _FIRST_IMAGES.items() if card.split_sizes[s] > most]
    limits = "\n".join(f"{split} = {_FIRST_IMAGES[split]}" for split in too_large)
    size = min(_FIRST_SIZE, card.image_shape[0])
    noise, rate, about = "as-given", "0", "as they are: how many are wrong is unknown"
    if "train" in card.trusted:
        noise, rate, about = "symmetric", "0.2", "trusted, so some are made wrong"
    minutes = _FIRST_MINUTES * min(1, card.split_sizes["train"] / _FIRST_IMAGES["train"])
    return f"""\
# A first look at {card.name}: does a method, or pretraining, help on these images?
# {len(_SEEDS)} seeds can decide both questions. It takes {_duration(minutes)} on two cores:
# small images, few of them, a narrow network. Its answer holds at this scale only.
#
# For a real experiment enlarge these, here with how many times as long it then takes:
{_enlargements(card, size, minutes)}
# More seeds show smaller differences, and cost in proportion. After a first run,
# `medbench run --dry-run` with this file says what one more seed costs.
name = "{card.name}"
description = "A first look at {card.name}"

[grid]
datasets = ["{card.name}"]
noise = ["{noise}"] # training labels are {about}
rates = [{rate}]
pretexts = ["none", "simclr"]
methods = ["cross-entropy", "co-teaching", "elr"]
seeds = {_SEEDS}

[datasets.{card.name}]
plugin = "folder"

[images]
size = {size}
{limits}

[backbone]
name = "narrow"

[pretraining]
epochs = {_FIRST_EPOCHS}
batch_size = 32

[training]
epochs = {_FIRST_EPOCHS}
batch_size = 32

[training.optimiser]
lr = 0.05

[training.augmentation] # mirror and turn; changes of tone cost more than they bring at 32 px
sharpness = 0.0
autocontrast = 0.0
equalise = 0.0

[methods.co-teaching] # nobody can tell it the noise rate
forget_rate = "estimate"

[statistics]
questions = ["methods", "pretraining"]
baseline_method = "cross-entropy"
baseline_pretext = "none"
"""


def _enlargements(card: DatasetCard, size: int, minutes: float) -> str:
    """Return comment lines: what to enlarge, to what, and how long the protocol then takes."""
    train, stored = card.split_sizes["train"], card.image_shape[0]
    larger = min(128, stored)
    rows = []
    if train > _FIRST_IMAGES["train"]:
        rows.append((f"images.train to {train} (leave it out)", train / _FIRST_IMAGES["train"]))
    if larger > size:
        rows.append((f"images.size to {larger}", (larger / size) ** 2))
    rows.append(("epochs to 50, both", 50 / _FIRST_EPOCHS))
    # measured: 12 times at 32 px, 7 at 128, where resnet18 soon halves the image twice
    rows.append(('backbone.name to "resnet18"', 7 if larger > 64 else 12))
    rows.append(("all of these", prod(times for _, times in rows)))
    return "\n".join(
        f"#   {what:36} {times:5,.0f} times, {_duration(times * minutes)}" for what, times in rows
    )


def _duration(minutes: float) -> str:
    """Return about how long something takes."""
    if minutes < 100:
        return f"about {max(1, round(minutes))} min"
    return f"about {round(minutes / 60):,} h"

"""Rules for datasets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from medbench.check.compare import difference, require_equal
from medbench.check.contract import (
    NotApplicable,
    Violation,
    refusal_is_not_applicable,
    rule_of,
)
from medbench.check.plugin import PluginUnderTest
from medbench.interfaces.dataset import SPLITS, Dataset, DatasetCard, LabelledImages

rule = rule_of("dataset")

#: Images that are read, spread over the dataset.
LOOKED_AT = 64


def card_of(plugin: PluginUnderTest, **changes: Any) -> DatasetCard:
    """Return the card; a dataset that refuses in one line is no violation."""
    with refusal_is_not_applicable():
        card: DatasetCard = plugin.make(**changes).card(plugin.context)
    if not isinstance(card, DatasetCard):
        raise Violation(f"card returned a {type(card).__name__}")
    return card


@contextmanager
def opened(plugin: PluginUnderTest) -> Iterator[LabelledImages]:
    """Open the data."""
    dataset: Dataset = plugin.make()
    with ExitStack() as stack:
        with refusal_is_not_applicable():
            data = stack.enter_context(dataset.open(plugin.context))
        yield data


def _arrays(data: LabelledImages) -> dict[str, Any]:
    """Return labels, splits, ids and some of the images."""
    count = len(data.labels)
    places = np.unique(np.linspace(0, max(0, count - 1), LOOKED_AT).astype(int))
    return {
        "images": np.asarray(data.images[places]),
        "labels": np.asarray(data.labels),
        "split": np.asarray(data.split),
        "ids": np.asarray(data.ids),
    }


@rule(
    expects="the card is complete: title, modality, licence, citation, source, two or more "
    "distinct class names",
    why="Results on images of unknown origin cannot be interpreted, and nobody may use them.",
    fix='complete the DatasetCard; write "unknown" for what is not known',
)
def card(plugin: PluginUnderTest) -> None:
    """Look at the card."""
    found = card_of(plugin)
    for name in ("name", "title", "modality", "licence", "citation", "source"):
        if not str(getattr(found, name)).strip():
            raise Violation(f"{name} is empty")
    if len(found.class_names) < 2 or len(set(found.class_names)) < len(found.class_names):
        raise Violation(f"class_names are {found.class_names}")


@rule(
    expects="images are uint8 (N, H, W, C) with C 1 or 3, labels int64 (N,), split uint8 (N,), ids"
    " text (N,)",
    why="All other code relies on it.",
    fix="convert in open: .astype(np.uint8), images[..., None] if grey, np.array(ids, str)",
)
def arrays(plugin: PluginUnderTest) -> None:
    """Look at types and shapes."""
    with opened(plugin) as data:
        looked = _arrays(data)
        shape = tuple(data.images.shape)
    count = len(looked["labels"])
    if len(shape) != 4 or shape[0] != count or shape[3] not in (1, 3):
        raise Violation(f"images have shape {shape} for {count} labels")
    wanted = {"images": "u1", "labels": "i8", "split": "u1"}
    for name, dtype in wanted.items():
        if looked[name].dtype != np.dtype(dtype):
            raise Violation(f"{name} are {looked[name].dtype}, not {np.dtype(dtype)}")
    if looked["ids"].dtype.kind not in "UO" or not all(
        isinstance(each, str) for each in looked["ids"].tolist()
    ):
        raise Violation(f"ids are {looked['ids'].dtype}, not text")
    for name in ("labels", "split", "ids"):
        if looked[name].shape != (count,):
            raise Violation(f"{name} has shape {looked[name].shape}, not ({count},)")


@rule(
    expects="the card's image shape, split sizes and number of classes are those of the arrays",
    why="Plans, checks and the board use the card without opening the data.",
    fix="compute the card from the arrays, once, when the data are prepared",
)
def card_agrees(plugin: PluginUnderTest) -> None:
    """Compare the card with the arrays."""
    found = card_of(plugin)
    with opened(plugin) as data:
        shape, looked = tuple(data.images.shape), _arrays(data)
    if shape[1:] != tuple(found.image_shape):
        raise Violation(f"the card says images of {tuple(found.image_shape)}, they are {shape[1:]}")
    sizes = {name: int((looked["split"] == code).sum()) for name, code in SPLITS.items()}
    if sizes != dict(found.split_sizes):
        raise Violation(f"the card says {dict(found.split_sizes)}, the splits are {sizes}")
    low, high = int(looked["labels"].min()), int(looked["labels"].max())
    if low < 0 or high >= found.num_classes:
        raise Violation(
            f"labels go from {low} to {high}; the card names {found.num_classes} classes"
        )


@rule(
    expects="each sample is in one split; training and test have two or more classes",
    why="A method cannot learn from one class, nor be tested on none.",
    fix="use the codes of medbench.interfaces.SPLITS; stratify the split by class",
)
def splits(plugin: PluginUnderTest) -> None:
    """Count classes in each split."""
    with opened(plugin) as data:
        looked = _arrays(data)
    unknown = set(np.unique(looked["split"]).tolist()) - set(SPLITS.values())
    if unknown:
        raise Violation(f"split holds {sorted(unknown)}, not only {dict(SPLITS)}")
    for name in ("train", "test"):
        classes = np.unique(looked["labels"][looked["split"] == SPLITS[name]])
        if len(classes) < 2:
            raise Violation(f"the {name} split has samples of {len(classes)} classes")


@rule(
    expects="ids are unique",
    why="Records identify samples by them, and tables of several runs are joined on them.",
    fix="use the file's path or the publisher's number",
)
def ids(plugin: PluginUnderTest) -> None:
    """Look for an id that occurs twice."""
    with opened(plugin) as data:
        names, counts = np.unique(np.asarray(data.ids), return_counts=True)
    if (counts > 1).any():
        raise Violation(f"{str(names[counts > 1][0])!r} is the id of {counts.max()} samples")


@rule(
    expects="opened twice, images, labels, splits and ids are the same in the same order",
    why="Subsets and noise are drawn by position: another order is another experiment.",
    fix="sort file names; draw nothing, or from a seed that the content hash covers",
)
def repeats(plugin: PluginUnderTest) -> None:
    """Open twice."""
    with opened(plugin) as data:
        first = _arrays(data)
    with opened(plugin) as data:
        second = _arrays(data)
    require_equal(first, second, "opened twice")


@rule(
    expects="images can be read by an array of sorted positions, by a slice and as a whole",
    why="Training images are read by sorted positions, all at once.",
    fix="return a numpy array or an HDF5 dataset",
)
def sorted_reads(plugin: PluginUnderTest) -> None:
    """Read some images in two ways."""
    with opened(plugin) as data:
        count = min(6, len(data.labels))
        places = np.arange(0, count, 2)
        chosen = np.asarray(data.images[places])
        whole = np.asarray(data.images[0:count])
    require_equal(whole[places], chosen, "read as a slice and by positions")


@rule(
    expects="the card's content_hash is a SHA-256 in hexadecimal, the same on every call",
    why="It is part of the run key: if it changes without the data, no run is found again.",
    fix="compute it once, when the data are prepared, over images, labels, splits and ids",
)
def content_hash(plugin: PluginUnderTest) -> None:
    """Ask for the hash twice."""
    first, second = card_of(plugin).content_hash, card_of(plugin).content_hash
    if not re.fullmatch(r"[0-9a-f]{64}", first):
        raise Violation(f"content_hash is {first!r:.80}")
    if first != second:
        raise Violation(f"content_hash was {first[:12]}…, then {second[:12]}…")


@rule(
    expects="settings that change images, labels, splits or ids change the content hash",
    why="If it stays the same while the data change, old results are taken for new ones.",
    fix="hash what open gives under these settings, not the dataset's name",
)
def hash_follows_content(plugin: PluginUnderTest) -> str:
    """Change each setting that has another value, and compare data and hash."""
    before = card_of(plugin).content_hash
    with opened(plugin) as data:
        first = _arrays(data)
    looked = 0
    for name, value in _other_values(plugin):
        changed = PluginUnderTest(plugin.entry, {**plugin.settings, name: value}, plugin.cache)
        try:
            after = card_of(changed).content_hash
            with opened(changed) as data:
                second = _arrays(data)
        except Exception:  # noqa: BLE001 - a value the dataset does not take says nothing
            continue
        looked += 1
        found = difference(first, second)
        if found and before == after:
            raise Violation(f"with {name} = {value!r} {found}, and the hash stays {before[:12]}…")
    return f"{looked} settings changed"


def _other_values(plugin: PluginUnderTest) -> Iterator[tuple[str, Any]]:
    """Yield another value for each setting that is a number or a switch."""
    model = plugin.entry.load_settings()
    settings = model.model_validate(plugin.values)
    for name in model.model_fields:
        value = getattr(settings, name)
        if isinstance(value, bool):
            yield name, not value
        elif isinstance(value, int):
            yield name, value + 1
        elif isinstance(value, float):
            yield name, value / 2


@rule(
    expects="no group (patient, slide, tile) is in training and in test, unless the card's "
    "confounders say so",
    why="A patient seen in training is recognised in the test, and the score is too high.",
    fix="split by group; if the publisher's split does not, say so in `confounders`",
)
def groups_apart(plugin: PluginUnderTest) -> str:
    """Look for groups in two splits."""
    found = card_of(plugin)
    with opened(plugin) as data:
        if data.groups is None:
            raise NotApplicable("it names no groups")
        groups, split = np.asarray(data.groups), np.asarray(data.split)
    train, test = (set(groups[split == SPLITS[name]].tolist()) for name in ("train", "test"))
    both = {each for each in train & test if each}
    if both and not found.confounders:
        raise Violation(
            f"{len(both)} groups are in training and in test, {sorted(both)[0]!r} among them, and "
            "the card names no confounders"
        )
    return f"{len(both)} groups in training and in test"

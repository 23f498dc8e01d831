"""Copies among the images of a dataset: found, kept in one split or dropped, and listed.

Images are copies of each other if their pixels are equal, or if they are near-duplicates as
:mod:`medbench.data.hashing` defines them. A *set* holds all images that are copies, directly or
through others of the set.
"""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medbench.data.audit import copies_sentence, pixel_keys, rows_by_key
from medbench.data.hashing import Fingerprints, alike, near_pairs
from medbench.data.hdf5_writing import Columns
from medbench.data.samples import DatasetIndex
from medbench.interfaces.dataset import SPLITS
from medbench.store.atomic import write_text

#: What is done about copies: keep each set in one split, keep one image of each label of a set
#: (and those in one split), or leave them as they are.
Policy = Literal["group", "drop", "keep"]

#: The columns of the table of copies, and what they mean.
COLUMNS: Mapping[str, str] = {
    "set": "number of the set; equal images with different labels first, then other sets with "
    "different labels, then those that spanned splits",
    "id": "id of the image",
    "label": "its class",
    "split": "its split; of a dropped image, the one it would have had",
    "equal_to": "first image of the set with the same pixels; empty if it only looks like others",
    "labels_differ": "yes if images of the set have different labels",
    "done": "moved from SPLIT, dropped, or empty",
}

# Limits of the contact sheet; the table has everything.
_MOST_SETS, _MOST_OF_SET, _THUMBNAIL = 200, 12, 112

Image = Callable[[int], NDArray[np.uint8]]


@dataclass(frozen=True)
class Copies:
    """The copies among N images.

    Parameters
    ----------
    keys : sequence of hashable, length N
        Equal for two images if and only if their pixels are.
    pairs : sequence of (int, int)
        Row numbers of near-duplicates; of equal images the first is named.
    """

    keys: Sequence[Hashable]
    pairs: Sequence[tuple[int, int]]

    @classmethod
    def among(cls, fingerprints: Fingerprints, image: Image) -> Copies:
        """Find the copies among images.

        Parameters
        ----------
        fingerprints : Fingerprints
            Of the images.
        image : callable
            Returns the pixels of an image by its row number; called for images that may be
            equal to others.
        """
        keys = pixel_keys(fingerprints, image)
        first = np.array([rows[0] for rows in rows_by_key(keys).values()])
        pairs, _ = near_pairs(fingerprints.hashes[first])
        found = first[pairs[alike(fingerprints.thumbnails[first], pairs)]]
        return cls(keys, [(a, b) for a, b in found.tolist()])

    @cached_property
    def sets(self) -> list[list[int]]:
        """Row numbers of each set, both in rising order."""
        names: list[list[Hashable]] = [[("pixels", key)] for key in self.keys]
        for pair in self.pairs:
            for row in pair:
                names[row].append(("pair", pair))
        return [rows for rows in rows_by_key(joined(names)).values() if len(rows) > 1]

    @property
    def equal_to(self) -> list[int | None]:
        """For each image the first other one with the same pixels, if there is one."""
        first = {key: rows for key, rows in rows_by_key(self.keys).items() if len(rows) > 1}
        return [first[key][0] if key in first else None for key in self.keys]


def joined(names: Sequence[Iterable[Hashable]]) -> list[int]:
    """Return for each row the first row that it is connected with.

    Rows are connected if they share a name, directly or through other rows.

    Parameters
    ----------
    names : sequence of iterable of hashable
        Names of each row.
    """
    import networkx as nx

    graph = nx.Graph()
    graph.add_nodes_from(range(len(names)))
    graph.add_edges_from((row, ("name", name)) for row, own in enumerate(names) for name in own)
    first = [0] * len(names)
    for part in nx.connected_components(graph):
        rows = [node for node in part if isinstance(node, int)]
        for row in rows:
            first[row] = min(rows)
    return first


class Placed(NamedTuple):
    """What of a sample matters here."""

    id: str
    label: int
    split: str


@dataclass(frozen=True)
class Separated:
    """Samples, and what was done about copies among them.

    Parameters
    ----------
    before : sequence of Placed
        All samples as they were.
    copies : Copies
        Among them.
    policy : {"group", "drop", "keep"}
        What was done.
    splits : sequence of str
        Split of each sample.
    rows : sequence of int
        Row numbers of the samples that are kept.
    """

    before: Sequence[Placed]
    copies: Copies
    policy: Policy
    splits: Sequence[str]
    rows: Sequence[int]

    @cached_property
    def _kept(self) -> frozenset[int]:
        return frozenset(self.rows)

    @property
    def spanning(self) -> int:
        """Sets that spanned splits."""
        return sum(_spans(self.before, rows) for rows in self.copies.sets)

    def still_trusted(self, trusted: Sequence[str]) -> tuple[str, ...]:
        """Return which trusted splits received no image of a split that is not trusted."""
        moves = {(self.before[row].split, self.splits[row]) for row in self.rows}
        received = {to for origin, to in moves if to != origin and origin not in trusted}
        return tuple(split for split in trusted if split not in received)

    def to_json(self) -> dict[str, Any]:
        """Return what was done, for the audit of the card."""
        return {
            "policy": self.policy,
            "sets": len(self.copies.sets),
            "images": sum(map(len, self.copies.sets)),
            "spanned_splits": self.spanning,
            "dropped": len(self.before) - len(self.rows),
        }

    def ordered(self) -> list[tuple[list[int], bool]]:
        """Return the sets, and whether labels differ in each.

        Those with different labels are first, and before them those in which equal images have
        different labels, which prove a mistake; then those that spanned splits.
        """
        labels = [sample.label for sample in self.before]
        keys = self.copies.keys

        def rank(found: tuple[list[int], bool]) -> tuple[bool, bool, bool]:
            rows, differ = found
            proof = len({(keys[r], labels[r]) for r in rows}) > len({keys[r] for r in rows})
            return not proof, not differ, not _spans(self.before, rows)

        sets = [(rows, len({labels[row] for row in rows}) > 1) for rows in self.copies.sets]
        return sorted(sets, key=rank)

    def done(self, row: int) -> str:
        """Return what was done to one sample, in words."""
        was = self.before[row].split
        if row not in self._kept:
            return "dropped"
        return f"moved from {was}" if was != self.splits[row] else ""


def left_as_they_are(columns: Columns, copies: Copies) -> Separated:
    """Return stored images with the copies among them, of which nothing is moved or dropped."""
    names = {code: name for name, code in SPLITS.items()}
    splits = [names[code] for code in np.asarray(columns.split).tolist()]
    labels = np.asarray(columns.labels).tolist()
    before = [Placed(*row) for row in zip(columns.ids, labels, splits, strict=True)]
    return Separated(before, copies, "keep", splits, range(len(before)))


def separate(index: DatasetIndex, copies: Copies, policy: Policy) -> Separated:
    """Decide what becomes of copies.

    Parameters
    ----------
    index : DatasetIndex
        All samples.
    copies : Copies
        Among them.
    policy : {"group", "drop", "keep"}
        ``group``: each set is in one split. Where medbench made the splits it makes them
        again, with sets kept together; else a set goes to the first of its splits, so that
        copies of training images leave validation and test. ``drop``: of the images of a set
        with one label the first is kept, then as ``group``. ``keep``: nothing.
    """
    samples, sets = [Placed(s.id, s.label, s.split) for s in index.samples], copies.sets
    splits, dropped = [sample.split for sample in samples], set[int]()
    if policy == "keep" or not sets:
        return Separated(samples, copies, policy, splits, range(len(samples)))
    if index.split_again is None:
        for rows in sets:
            first = min((splits[row] for row in rows), key=list(SPLITS).index)
            for row in rows:
                splits[row] = first
    else:
        set_of = {samples[row].id: number for number, rows in enumerate(sets) for row in rows}
        again = index.split_again(set_of)
        splits = [again[sample.id] for sample in samples]
    if policy == "drop":
        for rows in sets:
            by_label = rows_by_key(samples[row].label for row in rows)
            dropped |= {rows[place] for places in by_label.values() for place in places[1:]}
    kept = [row for row in range(len(samples)) if row not in dropped]
    return Separated(samples, copies, policy, splits, kept)


def write_copies(path: Path, pages: Mapping[str, str]) -> None:
    """Write the files about copies next to a dataset file; remove those of an earlier one.

    Parameters
    ----------
    path : pathlib.Path
        The dataset file.
    pages : mapping of str to str
        As :func:`copies_pages` returns them.
    """
    for ending in ("csv", "html"):
        file = path.with_name(f"{path.stem}-duplicates.{ending}")
        if ending in pages:
            write_text(file, pages[ending])
        else:
            file.unlink(missing_ok=True)


def copies_pages(
    separated: Separated, class_names: Sequence[str], name: str, image: Image
) -> dict[str, str]:
    """Return the table and the contact sheet of copies, by the endings of their files.

    Parameters
    ----------
    separated : Separated
        The samples, with their copies.
    class_names : sequence of str
        Names of the classes.
    name : str
        Name of the dataset file, without its ending.
    image : callable
        Returns the pixels of an image by its row number.

    Returns
    -------
    dict of str to str
        Empty where there are no copies.
    """
    if not separated.copies.sets:
        return {}
    table = copies_table(separated, class_names)
    return {"csv": table, "html": contact_sheet(separated, class_names, name, image)}


def copies_table(separated: Separated, class_names: Sequence[str]) -> str:
    """Return all copies as CSV, with the columns of :data:`COLUMNS`."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    equal_to, before = separated.copies.equal_to, separated.before
    for number, (rows, differ) in enumerate(separated.ordered(), start=1):
        for row in rows:
            first, label = equal_to[row], class_names[before[row].label]
            equal = "" if first is None else before[first].id
            cells = (before[row].id, label, separated.splits[row], equal, "yes" if differ else "no")
            writer.writerow((number, *cells, separated.done(row)))
    return text.getvalue()


def contact_sheet(separated: Separated, class_names: Sequence[str], name: str, image: Image) -> str:
    """Return pictures of the first sets as one HTML page that needs no network.

    Parameters
    ----------
    separated : Separated
        The samples, with their copies.
    class_names : sequence of str
        Names of the classes.
    name : str
        Name of the dataset file, without its ending.
    image : callable
        Returns the pixels of an image by its row number.
    """
    ordered = separated.ordered()
    parts = []
    for number, (rows, differ) in enumerate(ordered[:_MOST_SETS], start=1):
        figures = "".join(
            _figure(separated, class_names, row, image(row)) for row in rows[:_MOST_OF_SET]
        )
        more = f"<p>{len(rows) - _MOST_OF_SET} more</p>" if len(rows) > _MOST_OF_SET else ""
        differing = ", <strong>labels differ</strong>" if differ else ""
        parts.append(
            f"<section><h2>Set {number}: {len(rows)} images{differing}</h2>"
            f'<div class="row">{figures}</div>{more}</section>'
        )
    shown = f" The first {_MOST_SETS} are shown." if len(ordered) > _MOST_SETS else ""
    title = escape(f"{name}: copies")
    said = escape(copies_sentence(separated.to_json()))
    return (
        _HEAD.format(title=title)
        + f"<h1>{title}</h1><p>{said}{shown} All are in <code>{escape(name)}-duplicates.csv"
        + f"</code>.</p>{''.join(parts)}</main></body></html>\n"
    )


def _spans(samples: Sequence[Placed], rows: Iterable[int]) -> bool:
    return len({samples[row].split for row in rows}) > 1


def _figure(
    separated: Separated, class_names: Sequence[str], row: int, pixels: NDArray[np.uint8]
) -> str:
    from PIL import Image as Pillow

    sample = separated.before[row]
    picture = Pillow.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    picture.thumbnail((_THUMBNAIL, _THUMBNAIL))
    file = io.BytesIO()
    picture.save(file, "PNG")
    words = (class_names[sample.label], separated.splits[row], separated.done(row))
    lines = "<br>".join(escape(word) for word in (sample.id, ", ".join(filter(None, words))))
    source = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    return f'<figure><img src="{source}" alt=""><figcaption>{lines}</figcaption></figure>'


_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; \
style-src 'unsafe-inline'">
<title>{title}</title>
<style>
body {{ font: 1rem/1.5 system-ui, sans-serif; margin: 2rem; }}
h2 {{ font-size: 1rem; margin: 1.5rem 0 .5rem; }}
.row {{ display: flex; flex-wrap: wrap; gap: 1rem; }}
figure {{ margin: 0; width: 10rem; overflow-wrap: anywhere; font-size: .8rem; }}
img {{ image-rendering: pixelated; min-width: 7rem; }}
</style></head><body><main>
"""

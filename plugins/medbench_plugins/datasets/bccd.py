"""BCCD, cells of blood smears, prepared from the user's own copy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar
from xml.etree import ElementTree

from medbench.data import (
    Box,
    DatasetIndex,
    FilesDataset,
    LayoutError,
    Sample,
    SourceFile,
    UnreadableError,
    read_bytes,
    summarize_files,
)
from medbench.interfaces.dataset import DatasetCard
from medbench_plugins.datasets.incomplete import incomplete


class Bccd(FilesDataset):
    """BCCD: 4,886 cells cut from 364 blood smears, 3 classes at 11.5 to 1, split by smear.

    https://github.com/Shenggan/BCCD_Dataset (MIT). The publisher gives smears of
    640 x 480 px with a box around every cell (Pascal VOC). The square around
    the centre of each box, with its longer side, is cut; at an edge of the smear it is moved
    inwards. Stored at 64 px unless ``--size`` says otherwise.

    Prepared from a clone or archive of the repository, or its folder ``BCCD``. The
    publisher's lists of smears make the splits.
    """

    plugin = "bccd"
    by_hand = "its publisher states no checksum: git clone https://github.com/Shenggan/BCCD_Dataset"

    #: Names in the annotations and of the classes, in the order of the labels.
    classes: ClassVar[Mapping[str, str]] = {
        "RBC": "red blood cell",
        "WBC": "white blood cell",
        "Platelets": "platelet",
    }
    lists: ClassVar[Mapping[str, str]] = {"train": "train", "val": "validation", "test": "test"}
    published = 4_886
    size = 64

    def index(self, files: Sequence[SourceFile]) -> DatasetIndex:
        """Return a sample for each box of each smear that is in a list."""
        tree = {file.parts[-2:]: file for file in files if len(file.parts) > 1}
        labels = {name: label for label, name in enumerate(self.classes)}
        samples: list[Sample] = []
        ignored: list[str] = []
        for smear, split in self._splits(files, tree).items():
            image = self._file(tree, "JPEGImages", f"{smear}.jpg", files)
            note = self._file(tree, "Annotations", f"{smear}.xml", files)
            cells, size = _read_annotation(note)
            for number, cell in enumerate(cells):
                name = f"{smear}#{number}"
                if cell.name not in labels:
                    raise LayoutError(
                        f"{note.where}: names a {cell.name!r}; known are {', '.join(labels)}"
                    )
                box = _square(cell.box, size)
                if box is None:
                    ignored.append(name)
                    continue
                samples.append(Sample(image, labels[cell.name], split, name, smear, box=box))
        samples.sort(key=lambda sample: sample.id)
        notes = [f"boxes without area left out: {', '.join(ignored)}"] if ignored else []
        return DatasetIndex(
            self._card(len(samples)), samples, channels=3, size=self.size, notes=notes
        )

    def _splits(
        self, files: Sequence[SourceFile], tree: Mapping[tuple[str, ...], SourceFile]
    ) -> dict[str, str]:
        """Return the split of each smear, by the publisher's lists."""
        splits: dict[str, str] = {}
        for word, split in self.lists.items():
            listed = self._file(tree, "Main", f"{word}.txt", files)
            for smear in _read(listed).decode("utf-8", "replace").split():
                if smear in splits:
                    raise LayoutError(f"{listed.where}: lists {smear}, as another list does")
                splits[smear] = split
        return splits

    def _file(
        self,
        tree: Mapping[tuple[str, ...], SourceFile],
        folder: str,
        name: str,
        files: Sequence[SourceFile],
    ) -> SourceFile:
        if (folder, name) not in tree:
            raise LayoutError(
                f"no {folder}/{name}: {summarize_files(files)}; expected BCCD/JPEGImages/*.jpg,"
                " BCCD/Annotations/*.xml and BCCD/ImageSets/Main/{train,val,test}.txt"
            )
        return tree[folder, name]

    def _card(self, count: int) -> DatasetCard:
        return DatasetCard(
            name=self.name,
            title="BCCD: cells cut from blood smears",
            modality="light microscopy",
            class_names=tuple(self.classes.values()),
            image_shape=(0, 0, 3),
            split_sizes={},
            licence="MIT",
            citation="Shenggan. BCCD Dataset (2017), https://github.com/Shenggan/BCCD_Dataset",
            source="BCCD Dataset, https://github.com/Shenggan/BCCD_Dataset",
            confounders=(
                "Strongly imbalanced: about 85 % red blood cells, and 7 to 8 % of each of the"
                " others. Accuracy says little here.",
                "A square is as large as its box: after scaling, the size of a cell, which tells"
                " platelets from the others, is seen by sharpness alone.",
                "Boxes overlap: a square often shows parts of neighbouring cells.",
                "Some cells of the smears have no box; some boxes are wrong.",
                "No patient ids: smears of one patient may be in several splits.",
                *incomplete({"BCCD": count}, {"BCCD": self.published}),
            ),
            group_meaning="blood smear the cell was cut from",
        )


@dataclass(frozen=True)
class _Cell:
    name: str
    box: Box


def _read(file: SourceFile) -> bytes:
    try:
        return read_bytes(file)
    except UnreadableError as error:
        raise LayoutError(f"{file.where}: {error}") from error


def _read_annotation(file: SourceFile) -> tuple[list[_Cell], tuple[int, int]]:
    """Return the cells of a Pascal VOC file, and width and height of its image."""
    data = _read(file)
    if b"<!" in data:  # no annotation needs a document type, entities or comments
        raise LayoutError(f"{file.where}: holds a declaration ('<!'); remove it")
    try:
        root = ElementTree.fromstring(data)
        width, height = (_whole(root.find(f"size/{name}")) for name in ("width", "height"))
        return list(_cells(root)), (width, height)
    except (ElementTree.ParseError, ValueError) as error:
        raise LayoutError(f"{file.where}: no Pascal VOC annotation ({error})") from error


def _cells(root: ElementTree.Element) -> Iterator[_Cell]:
    for entry in root.findall("object"):
        edges = [_whole(entry.find(f"bndbox/{edge}")) for edge in ("xmin", "ymin", "xmax", "ymax")]
        left, upper, right, lower = edges
        yield _Cell(entry.findtext("name", ""), (left, upper, right, lower))


def _whole(element: ElementTree.Element | None) -> int:
    if element is None or element.text is None:
        raise ValueError("a number is missing")
    return int(element.text)


def _square(box: Box, size: tuple[int, int]) -> Box | None:
    """Return the square around a box's centre, inside the image; ``None`` if it has no area.

    Parameters
    ----------
    box : tuple of int
        Left, upper, right and lower edge.
    size : tuple of int
        Width and height of the image.
    """
    left, upper, right, lower = box
    if not (left < right and upper < lower):
        return None
    side = min(max(right - left, lower - upper), *size)
    edges = []
    for low, high, most in ((left, right, size[0]), (upper, lower, size[1])):
        edges.append(min(max(0, (low + high - side) // 2), most - side))
    return edges[0], edges[1], edges[0] + side, edges[1] + side

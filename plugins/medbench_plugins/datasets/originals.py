"""The full-size originals of the embedded datasets, prepared from the user's own download."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from medbench.data import (
    DatasetIndex,
    Download,
    FilesDataset,
    LayoutError,
    Sample,
    SourceFile,
    stratified_split,
    summarize_files,
)
from medbench.interfaces.dataset import DatasetCard
from medbench_plugins.datasets.incomplete import incomplete

#: Share of NCT-CRC-HE-100K that becomes the validation split, as in PathMNIST.
VALIDATION_SHARE = 0.1


class NctCrcHe100k(FilesDataset):
    """NCT-CRC-HE-100K for training, CRC-VAL-HE-7K as its test set, 224 px, 9 tissue classes.

    Kather, Halama, Marx 2018, doi:10.5281/zenodo.1214456. The 100,000 training
    tiles have no patient ids, so the validation split may share patients with
    training; the 7,180 test tiles come from 50 other patients.

    Prepared from ``NCT-CRC-HE-100K.zip`` and ``CRC-VAL-HE-7K.zip``, or from the
    folders in them, or a folder that contains both.
    """

    plugin = "nct-crc-he-100k"

    #: Folder names and class names, in the order of the labels.
    classes: ClassVar[Mapping[str, str]] = {
        "ADI": "adipose tissue",
        "BACK": "background",
        "DEB": "debris",
        "LYM": "lymphocytes",
        "MUC": "mucus",
        "MUS": "smooth muscle",
        "NORM": "normal colon mucosa",
        "STR": "cancer-associated stroma",
        "TUM": "colorectal adenocarcinoma epithelium",
    }
    training, test = "NCT-CRC-HE-100K", "CRC-VAL-HE-7K"
    published: ClassVar[Mapping[str, int]] = {training: 100_000, test: 7_180}

    def downloads(self, size: int | None) -> Sequence[Download]:
        """Return both archives of the publisher's record: 12.5 GB."""
        record = "https://zenodo.org/records/1214456/files"
        sums = {
            self.training: ("6fd702d11df6292bc054397ae038a464", 11_690_284_003),
            self.test: ("2fd1651b4f94ebd818ebf90ad2b6ce06", 800_276_929),
        }
        return [
            Download(f"{record}/{part}.zip?download=1", f"{part}.zip", md5, size_in_bytes)
            for part, (md5, size_in_bytes) in sums.items()
        ]

    def index(self, files: Sequence[SourceFile]) -> DatasetIndex:
        """Return the tiles; a seeded, stratified tenth of the 100K part is for validation."""
        tiles = [file for file in files if file.suffix in (".tif", ".tiff")]
        self._check(files, tiles)
        labels = {folder: label for label, folder in enumerate(self.classes)}
        training = [tile for tile in tiles if tile.parts[-3] == self.training]
        splits = stratified_split(
            {_tail(tile): labels[tile.parts[-2]] for tile in training},
            {"validation": VALIDATION_SHARE},
        )
        samples = [
            Sample(tile, labels[tile.parts[-2]], splits.get(_tail(tile), "test"), _tail(tile))
            for tile in tiles
        ]
        samples.sort(key=lambda sample: sample.id)
        return DatasetIndex(self._card(tiles), samples, channels=3)

    def _check(self, files: Sequence[SourceFile], tiles: Sequence[SourceFile]) -> None:
        expected = (
            f"expected {self.training}/CLASS/*.tif and {self.test}/CLASS/*.tif,"
            f" CLASS one of {', '.join(self.classes)}"
        )
        for part in (self.training, self.test):
            if not any(len(t.parts) > 2 and t.parts[-3] == part for t in tiles):
                raise LayoutError(f"no tile of {part}: {summarize_files(files)}; {expected}")
        for tile in tiles:
            known = len(tile.parts) > 2 and tile.parts[-3] in self.published
            if not known or tile.parts[-2] not in self.classes:
                raise LayoutError(f"{tile.where}: is in no known folder; {expected}")

    def _card(self, tiles: Sequence[SourceFile]) -> DatasetCard:
        parts = [tile.parts[-3] for tile in tiles]
        return DatasetCard(
            name=self.name,
            title="NCT-CRC-HE-100K with CRC-VAL-HE-7K: tiles of colorectal tissue",
            modality="H&E histology",
            class_names=tuple(self.classes.values()),
            image_shape=(0, 0, 3),
            split_sizes={},
            licence="CC BY 4.0",
            citation=(
                "Kather JN, Krisam J, Charoentong P, et al. Predicting survival from colorectal"
                " cancer histology slides using deep learning: a retrospective multicenter study."
                " PLoS Medicine 16:e1002730 (2019), doi:10.1371/journal.pmed.1002730"
            ),
            source=(
                "Kather JN, Halama N, Marx A. 100,000 histological images of human colorectal"
                " cancer and healthy tissue (2018), doi:10.5281/zenodo.1214456"
            ),
            confounders=(
                "The training part has no patient ids: its validation split (a seeded, stratified"
                " tenth) may share patients with training. The test part comes from 50 other"
                " patients.",
                *incomplete({part: parts.count(part) for part in self.published}, self.published),
            ),
        )


class CovidQuEx(FilesDataset):
    """COVID-QU-Ex complete: 33,920 chest X-rays of 256 px, 3 classes, lung masks.

    Tahir et al. 2021, doi:10.1016/j.compbiomed.2021.105002, data
    doi:10.34740/kaggle/dsv/3122958. Classes are confounded with source hospital
    and patient age; there are no patient ids.

    Prepared from the downloaded archive or the folder in it. Where "Lung
    Segmentation Data" is there it is used, all of it; otherwise the smaller
    "Infection Segmentation Data".
    """

    plugin = "covid-qu-ex"
    by_hand = (
        "its publisher gives it to signed-in users only: download it from"
        " https://www.kaggle.com/datasets/anasmohammedtahir/covidqu"
    )

    classes = ("COVID-19", "Non-COVID", "Normal")
    splits: ClassVar[Mapping[str, str]] = {"Train": "train", "Val": "validation", "Test": "test"}
    published: ClassVar[Mapping[str, int]] = {
        "Lung Segmentation Data": 33_920,
        "Infection Segmentation Data": 5_826,
    }

    def index(self, files: Sequence[SourceFile]) -> DatasetIndex:
        """Return the X-rays with their lung masks, in the provider's split."""
        placed = {
            self._place(file): file
            for file in files
            if file.suffix == ".png" and len(file.parts) > 4
        }
        part = next(
            (part for part in self.published if any(place[0] == part for place in placed)), ""
        )
        samples = []
        for place, file in placed.items():
            where, split, class_name, kind, name = place
            if where != part or kind != "images":
                continue
            if split not in self.splits or class_name not in self.classes:
                raise LayoutError(f"{file.where}: is in no known folder; {self._expected()}")
            mask = placed.get((part, split, class_name, "lung masks", name))
            if mask is None:
                raise LayoutError(f"{file.where}: has no mask ../lung masks/{name}")
            samples.append(
                Sample(
                    file,
                    self.classes.index(class_name),
                    self.splits[split],
                    "/".join(place[1:]),
                    masks=(mask,),
                )
            )
        if not samples:
            found = summarize_files(files)
            raise LayoutError(f"no X-ray of COVID-QU-Ex: {found}; {self._expected()}")
        samples.sort(key=lambda sample: sample.id)
        return DatasetIndex(self._card(part, len(samples)), samples, channels=1)

    def _place(self, file: SourceFile) -> tuple[str, str, str, str, str]:
        """Return part of the dataset, split, class, kind of file and name."""
        part = next((part for part in reversed(file.parts[:-4]) if part in self.published), "")
        split, class_name, kind, name = file.parts[-4:]
        return part, split, class_name, kind, name

    def _expected(self) -> str:
        part = next(iter(self.published))
        return (
            f"expected {part}/{part}/SPLIT/CLASS/images/*.png and .../lung masks/*.png,"
            f" SPLIT one of {', '.join(self.splits)}, CLASS one of {', '.join(self.classes)}"
        )

    def _card(self, part: str, count: int) -> DatasetCard:
        return DatasetCard(
            name=self.name,
            title="COVID-QU-Ex: chest X-rays with lung masks",
            modality="chest X-ray",
            class_names=self.classes,
            image_shape=(0, 0, 1),
            split_sizes={},
            licence="CC BY-SA 4.0",
            citation=(
                "Tahir AM, Chowdhury MEH, Khandakar A, et al. COVID-19 infection localization and"
                " severity grading from chest X-ray images. Computers in Biology and Medicine"
                " 139:105002 (2021), doi:10.1016/j.compbiomed.2021.105002"
            ),
            source=f"COVID-QU-Ex Dataset, part '{part}', doi:10.34740/kaggle/dsv/3122958",
            confounders=(
                "Class is confounded with source hospital and patient age: a high score need not"
                " mean that disease was recognised.",
                "No patient ids: images of one patient may be in several splits.",
                *incomplete({part: count}, self.published),
            ),
        )


def _tail(file: SourceFile) -> str:
    return "/".join(file.parts[-3:])

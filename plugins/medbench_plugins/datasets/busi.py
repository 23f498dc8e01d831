"""BUSI, breast ultrasound, prepared from the user's own download."""

from __future__ import annotations

import re
from collections.abc import Sequence

from medbench.data import (
    DatasetIndex,
    FilesDataset,
    LayoutError,
    Sample,
    SourceFile,
    stratified_split,
    summarize_files,
)
from medbench.interfaces.dataset import DatasetCard
from medbench_plugins.datasets.incomplete import incomplete

#: Shares of the splits that are made here; the publisher gives none.
SHARES = {"test": 0.2, "validation": 0.1}

_MASK = re.compile(r"(?P<image>.+)_mask(_\d+)?\.png")


class Busi(FilesDataset):
    """BUSI: 780 breast ultrasound images, normal, benign and malignant, with lesion masks.

    Al-Dhabyani, Gomaa, Khaled, Fahmy 2020, doi:10.1016/j.dib.2019.104863. The
    images differ in size; they are stored in grey at 224 px unless ``--size``
    says otherwise. Where an image has several masks, their union is stored;
    those of normal images are empty.

    Prepared from ``Dataset_BUSI.zip`` or the folder in it. The publisher gives no
    split and no patient ids: a fifth of each class becomes test, a tenth validation.
    """

    plugin = "busi"
    by_hand = (
        "its publisher states no checksum: download https://scholar.cu.edu.eg/Dataset_BUSI.zip"
    )

    classes = ("normal", "benign", "malignant")
    published = 780
    size = 224

    def index(self, files: Sequence[SourceFile]) -> DatasetIndex:
        """Return the images with their masks."""
        images: dict[str, SourceFile] = {}
        masks: dict[str, list[SourceFile]] = {}
        for file in files:
            if file.suffix != ".png" or len(file.parts) < 2:
                continue
            folder, name = file.parts[-2:]
            if folder not in self.classes:
                raise LayoutError(f"{file.where}: is in no known folder; {self._expected}")
            if found := _MASK.fullmatch(name):
                masks.setdefault(f"{folder}/{found['image']}.png", []).append(file)
            else:
                images[f"{folder}/{name}"] = file
        if not images:
            raise LayoutError(f"no image of BUSI: {summarize_files(files)}; {self._expected}")
        for name, file in images.items():
            if name not in masks:
                mask = file.parts[-1].replace(".png", "_mask.png")
                raise LayoutError(f"{file.where}: has no mask {mask} next to it")
        labels = {name: self.classes.index(name.split("/")[0]) for name in images}
        splits = stratified_split(labels, SHARES)
        samples = [
            Sample(file, labels[name], splits[name], name, masks=tuple(masks[name]))
            for name, file in sorted(images.items())
        ]
        return DatasetIndex(self._card(len(samples)), samples, channels=1, size=self.size)

    @property
    def _expected(self) -> str:
        return (
            "expected CLASS/NAME.png and CLASS/NAME_mask.png,"
            f" CLASS one of {', '.join(self.classes)}"
        )

    def _card(self, count: int) -> DatasetCard:
        return DatasetCard(
            name=self.name,
            title="BUSI: breast ultrasound images with lesion masks",
            modality="ultrasound",
            class_names=self.classes,
            image_shape=(0, 0, 1),
            split_sizes={},
            licence="CC BY 4.0",
            citation=(
                "Al-Dhabyani W, Gomaa M, Khaled H, Fahmy A. Dataset of breast ultrasound images."
                " Data in Brief 28:104863 (2020), doi:10.1016/j.dib.2019.104863"
            ),
            source="Dataset_BUSI, doi:10.1016/j.dib.2019.104863",
            confounders=(*CONFOUNDERS, *incomplete({"BUSI": count}, {"BUSI": self.published})),
        )


#: Known faults of BUSI, at any size; the embedded file's card has these very sentences.
CONFOUNDERS: tuple[str, ...] = (
    "No patient ids: 780 images of 600 women, so images of one patient may occur in several"
    " splits, which medbench made (seed 0).",
    "One image occurs twice under two labels, benign (433) and malignant (145): real label noise.",
    "Many images carry callipers, text or markers of the machine, which may give the class away.",
)

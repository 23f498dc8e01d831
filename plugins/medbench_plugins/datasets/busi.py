"""BUSI, breast ultrasound, prepared from the user's own download."""

from __future__ import annotations

import re
from collections.abc import Sequence

from medbench.data.arrangement import Arrangement, Sample, Unit, deal, shown
from medbench.data.hdf5_dataset import FilesDataset
from medbench.data.sources import LayoutError, SourceFile
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
    split and no patient ids: a fifth is dealt to test and a tenth to
    validation, class by class.
    """

    plugin = "busi"
    by_hand = (
        "its publisher states no checksum: download https://scholar.cu.edu.eg/Dataset_BUSI.zip"
    )

    classes = ("normal", "benign", "malignant")
    published = 780
    size = 224

    def arrange(self, files: Sequence[SourceFile]) -> Arrangement:
        """Return the images with their masks."""
        pictures: dict[tuple[str, str], SourceFile] = {}
        masks: dict[tuple[str, str], list[SourceFile]] = {}
        for file in files:
            if file.suffix != ".png" or len(file.parts) < 2:
                continue
            folder, name = file.parts[-2:]
            if folder not in self.classes:
                raise LayoutError(f"{file.where}: stands in no known folder; {self._expected}")
            if found := _MASK.fullmatch(name):
                masks.setdefault((folder, f"{found['image']}.png"), []).append(file)
            else:
                pictures[folder, name] = file
        if not pictures:
            raise LayoutError(f"no image of BUSI: {shown(files)}; {self._expected}")
        for place, file in pictures.items():
            if place not in masks:
                name = place[1].removesuffix(".png")
                raise LayoutError(f"{file.where}: has no mask {name}_mask.png beside it")
        splits = deal(
            (Unit("/".join(place), self.classes.index(place[0])) for place in pictures), SHARES
        )
        samples = [
            Sample(
                file,
                self.classes.index(place[0]),
                splits["/".join(place)],
                "/".join(place),
                masks=tuple(masks[place]),
            )
            for place, file in sorted(pictures.items())
        ]
        return Arrangement(self._card(len(samples)), samples, channels=1, size=self.size)

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


#: Known faults of BUSI, at any size.
CONFOUNDERS: tuple[str, ...] = (
    "No patient ids: 780 images of 600 women, so images of one patient may stand in several"
    " splits, which medbench made (seed 0).",
    "One image stands twice under two labels, benign (433) and malignant (145): real label noise.",
    "Many images carry callipers, text or markers of the machine, which may give the class away.",
)

"""Built-in datasets: four embedded ones, and those the user prepares from own copies."""

from __future__ import annotations

import tomllib
from pathlib import Path

from medbench import Plugin

_EMBEDDED = "medbench_plugins.datasets.embedded"
_ORIGINALS = "medbench_plugins.datasets.originals"

_MEDMNIST = tomllib.loads(Path(__file__).with_name("medmnist.toml").read_text(encoding="utf-8"))

DATASETS: tuple[Plugin, ...] = (
    Plugin(
        name="covid-qu-ex-mini",
        target=f"{_EMBEDDED}:CovidQuExMini",
        summary="5,826 chest X-rays, 64 px, COVID-19 / other pneumonia / normal, lung masks",
        interface=1,
    ),
    Plugin(
        name="pneumonia-mnist",
        target=f"{_EMBEDDED}:PneumoniaMnist",
        summary="5,856 children's chest X-rays, 28 px, normal / pneumonia",
        interface=1,
    ),
    Plugin(
        name="kather-texture-mini",
        target=f"{_EMBEDDED}:KatherTextureMini",
        summary="1,600 patches of 100 colorectal H&E tiles, 56 px, 8 tissue classes",
        interface=1,
    ),
    Plugin(
        name="busi-mini",
        target=f"{_EMBEDDED}:BusiMini",
        summary="780 breast ultrasound images, 56 px, normal / benign / malignant",
        interface=1,
    ),
    Plugin(
        name="nct-crc-he-100k",
        target=f"{_ORIGINALS}:NctCrcHe100k",
        summary="107,180 colorectal H&E tiles, 224 px, 9 tissue classes (own download)",
        interface=1,
    ),
    Plugin(
        name="covid-qu-ex",
        target=f"{_ORIGINALS}:CovidQuEx",
        summary="33,920 chest X-rays, 256 px, 3 classes, lung masks (own download)",
        interface=1,
    ),
    Plugin(
        name="busi",
        target="medbench_plugins.datasets.busi:Busi",
        summary="780 breast ultrasound images, 224 px, 3 classes, lesion masks (own download)",
        interface=1,
    ),
    Plugin(
        name="bccd",
        target="medbench_plugins.datasets.bccd:Bccd",
        summary="4,886 blood cells, 64 px, 3 classes at 11.5 to 1, split by smear (own download)",
        interface=1,
    ),
    Plugin(
        name="folder",
        target="medbench_plugins.datasets.folder:FolderDataset",
        summary="your own images, in class folders or with a CSV file",
        interface=1,
    ),
    *(
        Plugin(
            name=f"medmnist:{name}",
            target="medbench_plugins.datasets.medmnist:MedMnist",
            summary=f"{published['summary']}, 28 to 224 px (own download)",
            interface=1,
            defaults={"set": name},
        )
        for name, published in _MEDMNIST.items()
    ),
)

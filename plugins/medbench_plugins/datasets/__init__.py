"""Built-in datasets: four embedded ones, and those the user prepares from own copies."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from medbench import Plugin

#: What the publisher states of each set of MedMNIST, by name.
MEDMNIST: dict[str, dict[str, Any]] = tomllib.loads(
    Path(__file__).with_name("medmnist.toml").read_text(encoding="utf-8")
)

# name: class in this package, summary
_CLASSES = {
    "covid-qu-ex-mini": (
        "embedded:CovidQuExMini",
        "5,826 chest X-rays, 64 px, COVID-19 / other pneumonia / normal, lung masks",
    ),
    "pneumonia-mnist": (
        "embedded:PneumoniaMnist",
        "5,856 children's chest X-rays, 28 px, normal / pneumonia",
    ),
    "kather-texture-mini": (
        "embedded:KatherTextureMini",
        "1,600 patches of 100 colorectal H&E tiles, 56 px, 8 tissue classes",
    ),
    "busi-mini": (
        "embedded:BusiMini",
        "780 breast ultrasound images, 56 px, normal / benign / malignant",
    ),
    "nct-crc-he-100k": (
        "originals:NctCrcHe100k",
        "107,180 colorectal H&E tiles, 224 px, 9 tissue classes (own download)",
    ),
    "covid-qu-ex": (
        "originals:CovidQuEx",
        "33,920 chest X-rays, 256 px, 3 classes, lung masks (own download)",
    ),
    "busi": (
        "busi:Busi",
        "780 breast ultrasound images, 224 px, 3 classes, lesion masks (own download)",
    ),
    "bccd": (
        "bccd:Bccd",
        "4,886 blood cells, 64 px, 3 classes at 11.5 to 1, split by smear (own download)",
    ),
    "folder": ("folder:FolderDataset", "your own images, in class folders or with a CSV file"),
}

DATASETS: tuple[Plugin, ...] = (
    *(
        Plugin(
            name=name, target=f"medbench_plugins.datasets.{target}", summary=summary, interface=1
        )
        for name, (target, summary) in _CLASSES.items()
    ),
    *(
        Plugin(
            name=f"medmnist:{name}",
            target="medbench_plugins.datasets.medmnist:MedMnist",
            summary=f"{published['summary']}, 28 to 224 px (own download)",
            interface=1,
            defaults={"set": name},
        )
        for name, published in MEDMNIST.items()
    ),
)

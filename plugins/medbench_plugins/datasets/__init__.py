"""Built-in datasets: three embedded ones and two originals the user prepares."""

from __future__ import annotations

from medbench import Plugin

_EMBEDDED = "medbench_plugins.datasets.embedded:EmbeddedDataset"
_ORIGINALS = "medbench_plugins.datasets.originals"

DATASETS: tuple[Plugin, ...] = (
    Plugin(
        name="covid-qu-ex-mini",
        target=_EMBEDDED,
        summary="5,826 chest X-rays, 64 px, COVID-19 / other pneumonia / normal, lung masks",
        interface=1,
    ),
    Plugin(
        name="pneumonia-mnist",
        target=_EMBEDDED,
        summary="5,856 children's chest X-rays, 28 px, normal / pneumonia",
        interface=1,
    ),
    Plugin(
        name="kather-texture-mini",
        target=_EMBEDDED,
        summary="1,600 patches of 100 colorectal H&E tiles, 56 px, 8 tissue classes",
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
)

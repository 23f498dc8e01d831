"""Build the dataset files that ship with medbench.

Usage::

    python tools/build_embedded_datasets.py RAW [--out FOLDER]

RAW holds the source arrays listed in ``INPUTS``; files with other bytes are
refused. What is done to the images, and nothing else:

``covid-qu-ex-mini``
    COVID-QU-Ex, "Infection Segmentation Data", all 5,826 images in the
    provider's split. The arrays hold 128 px (2x2 means of the 256 px
    originals); 64 px are made by a second 2x2 mean, rounded half up. A lung
    mask pixel is 1 where at least two of its four source pixels are.
``pneumonia-mnist``
    PneumoniaMNIST, 28 px, as it is, in its own split.
``kather-texture-mini``
    100 tiles of 224 px, each cut without overlap into 4x4 patches of 56 px.
    Patches of one tile stay in one split; tiles are assigned to the splits class
    by class, in the order of a seeded hash of their names.

The same input gives the same content hash everywhere, and the same bytes with
the same versions of HDF5 and zlib.
"""

from __future__ import annotations

import argparse
import hashlib
import math
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from medbench.data import Columns, ImageBatch, write_images
from medbench.interfaces.dataset import SPLITS, DatasetCard
from medbench_plugins.datasets.busi import CONFOUNDERS

OUT = Path(__file__).resolve().parents[1] / "plugins/medbench_plugins/datasets/data"

INPUTS = {
    "covidquex_infseg_128_train.h5": (
        "041cb58890815e2b35e64dfe9cce9982cf5ee094d1a19dda001151c9d9fd0954"
    ),
    "covidquex_infseg_128_valtest.h5": (
        "1c44831100972927263416c3742cc8bfd2a8502c60295b39a0735d8ae38bb536"
    ),
    "pneumoniamnist_28_reassembled.npz": (
        "6c1903802d593ec9c302e930ca374932ccae07d073ca8d098fa2801a9d3a306d"
    ),
    "kather2016_sample100_224.npz": (
        "00e1e8b03eed4dd0198b42fb59343c553dd3a928455491e29620a6b74bdf3261"
    ),
    "busi_128.npz": "50fe864ad98c5290e0b9fc21fd8bcceb5a74110395c47c708d43dd490c2f5039",
}

BATCH = 512
GRID = 4
PATCH = 56
SPLIT_SEED = 0
VALIDATION_SHARE, LEAST_VALIDATION = 0.15, 1
TEST_SHARE, LEAST_TEST = 0.25, 2

COVID_QU_EX_MINI = DatasetCard(
    name="covid-qu-ex-mini",
    title="COVID-QU-Ex mini: chest X-rays at 64 px with lung masks",
    modality="chest X-ray",
    class_names=("COVID-19", "Non-COVID", "Normal"),
    image_shape=(64, 64, 1),
    split_sizes={},
    licence="CC BY-SA 4.0",
    citation=(
        "Tahir AM, Chowdhury MEH, Khandakar A, et al. COVID-19 infection localization and"
        " severity grading from chest X-ray images. Computers in Biology and Medicine 139:105002"
        " (2021), doi:10.1016/j.compbiomed.2021.105002"
    ),
    source=(
        "COVID-QU-Ex Dataset, part 'Infection Segmentation Data', doi:10.34740/kaggle/dsv/3122958;"
        " complete, in the provider's split, reduced from 256 px to 64 px"
    ),
    confounders=(
        "Class is confounded with source hospital and patient age: a high score need not mean"
        " that disease was recognised.",
        "No patient ids: images of one patient may occur in several splits.",
        "One exact duplicate occurs in two splits: Train/COVID-19/images/covid_686.png and"
        " Test/COVID-19/images/covid_3155.png; the provider's split was kept.",
    ),
)

PNEUMONIA_MNIST = DatasetCard(
    name="pneumonia-mnist",
    title="PneumoniaMNIST: children's chest X-rays at 28 px",
    modality="chest X-ray",
    class_names=("normal", "pneumonia"),
    image_shape=(28, 28, 1),
    split_sizes={},
    licence="CC BY 4.0",
    citation=(
        "Yang J, Shi R, Wei D, et al. MedMNIST v2 - A large-scale lightweight benchmark for 2D and"
        " 3D biomedical image classification. Scientific Data 10:41 (2023),"
        " doi:10.1038/s41597-022-01721-8"
    ),
    source=(
        "PneumoniaMNIST 28 px (order of the images differs from the official file), from Kermany D,"
        " Zhang K, Goldbaum M. Labeled Optical Coherence Tomography (OCT) and Chest X-Ray Images"
        " for Classification, Mendeley Data (2018), doi:10.17632/rscbjbr9sj.2"
    ),
    confounders=(
        "All patients are children of one to five years from one hospital.",
        "No patient ids: images of one patient may occur in several splits.",
        "Exact duplicates at 28 px: 27 sets, 56 images in all, each set of one class; 8 sets span"
        " the training and validation splits, none spans test and another split.",
        "The share of pneumonia differs: 74 % in training and validation, 62.5 % in test.",
    ),
)

KATHER_TEXTURE_MINI = DatasetCard(
    name="kather-texture-mini",
    title="Kather texture mini: patches of colorectal tissue at 56 px",
    modality="H&E histology",
    class_names=(
        "tumour epithelium",
        "simple stroma",
        "complex stroma",
        "immune cell conglomerates",
        "debris and mucus",
        "mucosal glands",
        "adipose tissue",
        "background",
    ),
    image_shape=(PATCH, PATCH, 3),
    split_sizes={},
    licence="CC BY 4.0",
    citation=(
        "Kather JN, Weis CA, Bianconi F, et al. Multi-class texture analysis in colorectal cancer"
        " histology. Scientific Reports 6:27988 (2016), doi:10.1038/srep27988"
    ),
    source=(
        "100 of the 5,000 tiles of 'Collection of textures in colorectal cancer histology',"
        " doi:10.5281/zenodo.53169, each cut into 4x4 patches; split by tile"
    ),
    confounders=(
        "Only 100 tiles: the 1,600 patches are 16 to a tile and far from independent; resample by"
        " tile (group).",
        "A patch has its tile's label and may show little of that tissue: 8 patches of adipose"
        " tissue are nearly blank.",
        "No patient ids: tiles of one patient may occur in several splits.",
        "The tiles were enlarged from 150 px to 224 px before they were cut: a patch of 56 px holds"
        " the detail of about 38 px.",
    ),
    group_meaning="tile the patch was cut from",
)

BUSI_MINI = DatasetCard(
    name="busi-mini",
    title="BUSI mini: breast ultrasound at 56 px",
    modality="ultrasound",
    class_names=("normal", "benign", "malignant"),
    image_shape=(PATCH, PATCH, 1),
    split_sizes={},
    licence="CC BY 4.0",
    citation=(
        "Al-Dhabyani W, Gomaa M, Khaled H, Fahmy A. Dataset of breast ultrasound images. Data in"
        " Brief 28:104863 (2020), doi:10.1016/j.dib.2019.104863"
    ),
    source=(
        "Dataset_BUSI, doi:10.1016/j.dib.2019.104863; complete, brought to grey squares of 128 px"
        " and reduced to 56 px; without the masks of lesions"
    ),
    confounders=CONFOUNDERS,
)


def main() -> None:
    """Check the input, then build all files."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("raw", type=Path, help="folder with the source arrays")
    parser.add_argument("--out", type=Path, default=OUT, help="folder for the dataset files")
    arguments = parser.parse_args()
    check_inputs(arguments.raw)
    for card in (
        build_covid_qu_ex_mini(arguments.raw, arguments.out),
        build_pneumonia_mnist(arguments.raw, arguments.out),
        build_kather_texture_mini(arguments.raw, arguments.out),
        build_busi_mini(arguments.raw, arguments.out),
    ):
        size = (arguments.out / f"{card.name}.h5").stat().st_size
        print(f"{card.name}: {size:,} bytes, {dict(card.split_sizes)}, {card.content_hash}")


def check_inputs(raw: Path) -> None:
    """Refuse source arrays other than those the published files were built from."""
    for name, expected in INPUTS.items():
        with (raw / name).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != expected:
            raise SystemExit(f"{raw / name}: SHA-256 is {found}, expected {expected}")


def build_covid_qu_ex_mini(raw: Path, out: Path) -> DatasetCard:
    """Write ``covid-qu-ex-mini.h5``."""
    with (
        h5py.File(raw / "covidquex_infseg_128_train.h5") as train,
        h5py.File(raw / "covidquex_infseg_128_valtest.h5") as rest,
    ):
        parts = (train, rest)
        return write_images(
            out / "covid-qu-ex-mini.h5",
            COVID_QU_EX_MINI,
            (batch for part in parts for batch in halved_batches(part)),
            Columns(
                labels=np.concatenate([part["labels"][:] for part in parts]),
                split=np.concatenate([part["split"][:] for part in parts]),
                ids=[name.decode() for part in parts for name in part["source_file"][:]],
            ),
            gzip_level=9,
        )


def halved_batches(part: h5py.File) -> Iterator[ImageBatch]:
    """Yield a source file's images and lung masks at half their side."""
    for first in range(0, len(part["images"]), BATCH):
        images = part["images"][first : first + BATCH]
        masks = part["lung_masks"][first : first + BATCH]
        yield ImageBatch(mean_of_2x2(images)[..., None], mean_of_2x2(masks))


def mean_of_2x2(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return means of 2x2 pixels, rounded half up: (n, H, W) to (n, H/2, W/2).

    For masks of 0 and 1 the rounded mean is "at least half".
    """
    count, height, width = images.shape
    blocks = images.reshape(count, height // 2, 2, width // 2, 2)
    sums: NDArray[np.uint16] = blocks.sum(axis=(2, 4), dtype=np.uint16)
    return ((sums + 2) // 4).astype(np.uint8)


def build_pneumonia_mnist(raw: Path, out: Path) -> DatasetCard:
    """Write ``pneumonia-mnist.h5``."""
    arrays = np.load(raw / "pneumoniamnist_28_reassembled.npz")
    split = arrays["split"]
    return write_images(
        out / "pneumonia-mnist.h5",
        PNEUMONIA_MNIST,
        [ImageBatch(arrays["images"][..., None])],
        Columns(arrays["labels"], split, ids_by_order(split)),
        gzip_level=9,
    )


def ids_by_order(split: NDArray[np.uint8]) -> list[str]:
    """Return ids such as ``train-00001``: the image's place among those of its split."""
    names = {code: name for name, code in SPLITS.items()}
    seen = dict.fromkeys(names, 0)
    ids = []
    for code in split.tolist():
        seen[code] += 1
        ids.append(f"{names[code]}-{seen[code]:05d}")
    return ids


def build_kather_texture_mini(raw: Path, out: Path) -> DatasetCard:
    """Write ``kather-texture-mini.h5``."""
    arrays = np.load(raw / "kather2016_sample100_224.npz")
    tiles, labels = arrays["source_file"].tolist(), arrays["labels"]
    split_of = split_tiles(tiles, labels)
    places = [f"r{row}c{column}" for row in range(GRID) for column in range(GRID)]
    return write_images(
        out / "kather-texture-mini.h5",
        KATHER_TEXTURE_MINI,
        [ImageBatch(cut(arrays["images"]))],
        Columns(
            labels=np.repeat(labels, len(places)),
            split=[split_of[tile] for tile in tiles for _ in places],
            ids=[f"{tile}/{place}" for tile in tiles for place in places],
            groups=[tile for tile in tiles for _ in places],
        ),
        gzip_level=9,
    )


def split_tiles(tiles: list[str], labels: NDArray[np.int64]) -> dict[str, int]:
    """Return the split code of each tile, stratified by class.

    The order is that of a hash rather than a generator's, so that it depends
    on no library's version.
    """
    split_of = {}
    for label in np.unique(labels):
        of_class = [tile for tile, its in zip(tiles, labels, strict=True) if its == label]
        of_class.sort(key=lambda tile: hashlib.sha256(f"{SPLIT_SEED}/{tile}".encode()).digest())
        test = max(LEAST_TEST, round(TEST_SHARE * len(of_class)))
        validation = max(LEAST_VALIDATION, round(VALIDATION_SHARE * len(of_class)))
        for place, tile in enumerate(of_class):
            name = (
                "test" if place < test else "validation" if place < test + validation else "train"
            )
            split_of[tile] = SPLITS[name]
    return split_of


def cut(tiles: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Cut tiles into a grid of patches, row by row: (n, 224, 224, 3) to (16n, 56, 56, 3)."""
    grid = tiles.reshape(len(tiles), GRID, PATCH, GRID, PATCH, 3)
    return grid.swapaxes(2, 3).reshape(-1, PATCH, PATCH, 3)


def build_busi_mini(raw: Path, out: Path) -> DatasetCard:
    """Write ``busi-mini.h5``."""
    arrays = np.load(raw / "busi_128.npz")
    return write_images(
        out / "busi-mini.h5",
        BUSI_MINI,
        [ImageBatch(area_means(arrays["images"], PATCH)[..., None])],
        Columns(arrays["labels"], arrays["split"], arrays["source_file"].tolist()),
        gzip_level=9,
    )


def area_means(images: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return square images reduced to ``side`` px by means over areas, rounded half up.

    Computed in whole numbers, on a grid so fine that old and new pixels are both
    whole blocks of it: (n, H, H) to (n, side, side).
    """
    fine = math.lcm(images.shape[1], side)
    old, new = fine // images.shape[1], fine // side
    small = np.empty((len(images), side, side), np.uint8)
    for place, image in enumerate(images):
        grid = image.repeat(old, axis=0).repeat(old, axis=1)
        sums = grid.reshape(side, new, side, new).sum(axis=(1, 3), dtype=np.int64)
        small[place] = (sums + new * new // 2) // (new * new)
    return small


if __name__ == "__main__":
    main()

"""COVID-QU-Ex is read in its publisher's layout: images, lung masks, either part."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from original_trees import Files, embedded_images, encoded, indexed, prepare, write_tree, write_zip
from PIL import Image

from medbench.data import LayoutError, open_images
from medbench.interfaces import SPLITS, Settings
from medbench_plugins.datasets.originals import CovidQuEx

LUNG = "Lung Segmentation Data/Lung Segmentation Data"
INFECTION = "Infection Segmentation Data/Infection Segmentation Data"


@pytest.fixture(scope="module")
def chests() -> tuple[Files, Files]:
    """X-rays and masks in the layout of the lung part; and what each image must become."""
    words = {0: "Train", 1: "Val", 2: "Test"}
    files: Files = {}
    with open_images(embedded_images("covid-qu-ex-mini")) as data:
        assert data.masks is not None
        for split, word in words.items():
            for label, class_name in enumerate(CovidQuEx.classes):
                places = np.flatnonzero((data.split == split) & (data.labels == label))[:3]
                for place in places:
                    name = data.ids[place].split("/")[-1]
                    root = f"{LUNG}/{word}/{class_name}"
                    files[f"{root}/images/{name}"] = encoded(data.images[place], "PNG")
                    files[f"{root}/lung masks/{name}"] = encoded(data.masks[place] * 255, "PNG")
    extra = {
        name.replace(LUNG, INFECTION).replace("lung masks", kind): content
        for name, content in files.items()
        for kind in ("lung masks", "infection masks")
    }
    return files, extra


def covid() -> CovidQuEx:
    return CovidQuEx("covid-qu-ex", Settings())


def test_covid_from_folder_and_zip_is_the_same_file(
    tmp_path: Path, chests: tuple[Files, Files]
) -> None:
    lung, infection = chests
    files = {**lung, **infection, "readme.txt": b"hello"}
    first = prepare(covid(), tmp_path / "a", write_tree(tmp_path / "download", files))
    second = prepare(covid(), tmp_path / "b", write_zip(tmp_path / "archive.zip", files))
    assert first.path.read_bytes() == second.path.read_bytes()
    assert first.card.image_shape == (64, 64, 1)
    assert first.card.split_sizes == {"train": 9, "validation": 9, "test": 9}
    assert "Lung Segmentation Data" in first.card.source
    with open_images(first.path) as data:
        assert data.masks is not None
        for place, name in enumerate(data.ids):
            split, class_name, _, file = name.split("/")
            image = Image.open(io.BytesIO(lung[f"{LUNG}/{name}"]))
            mask = Image.open(io.BytesIO(lung[f"{LUNG}/{split}/{class_name}/lung masks/{file}"]))
            np.testing.assert_array_equal(data.images[place][..., 0], np.asarray(image))
            np.testing.assert_array_equal(data.masks[place] * 255, np.asarray(mask))
            assert first.card.class_names[data.labels[place]] == class_name
            assert data.split[place] == SPLITS[CovidQuEx.splits[split]]


def test_covid_s_infection_part_alone_is_taken(tmp_path: Path, chests: tuple[Files, Files]) -> None:
    folder = write_tree(tmp_path, chests[1])
    found = indexed(covid(), folder)
    assert len(found.samples) == 27
    assert "Infection Segmentation Data" in found.card.source
    assert "holds 27 of the 5,826" in " ".join(found.card.confounders)
    inner = indexed(covid(), folder / "Infection Segmentation Data")
    assert [s.id for s in inner.samples] == [s.id for s in found.samples]


def test_a_wrong_covid_layout_says_what_is_there(
    tmp_path: Path, chests: tuple[Files, Files]
) -> None:
    lung, _ = chests
    name = next(name for name in lung if "lung masks" in name)
    without = {key: data for key, data in lung.items() if key != name}
    with pytest.raises(LayoutError, match="has no mask"):
        indexed(covid(), write_tree(tmp_path / "a", without))
    moved = {key.replace("Normal", "Healthy"): data for key, data in lung.items()}
    with pytest.raises(LayoutError, match=r"Healthy.*CLASS one of COVID-19, Non-COVID, Normal"):
        indexed(covid(), write_tree(tmp_path / "b", moved))
    with pytest.raises(LayoutError, match=r"found 1 x .*expected Lung Segmentation Data"):
        indexed(covid(), write_tree(tmp_path / "c", {"x/1.png": b""}))

"""The built-in datasets hold what their sources say, and their cards tell the truth."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

import medbench_plugins.datasets
from medbench.data import Hdf5Dataset, verify_images
from medbench.errors import MedbenchError, NotPreparedError
from medbench.interfaces import SPLITS, DataContext, LabelledImages, Settings
from medbench_plugins.datasets import DATASETS, embedded, folder, originals

EMBEDDED = ("covid-qu-ex-mini", "pneumonia-mnist", "kather-texture-mini", "busi-mini")

#: Images of each class in each split, as the providers publish them.
PUBLISHED = {
    "covid-qu-ex-mini": {
        "train": (1864, 932, 932),
        "validation": (466, 233, 233),
        "test": (583, 292, 291),
    },
    "pneumonia-mnist": {"train": (1214, 3494), "validation": (135, 389), "test": (234, 390)},
}

#: Images of each class of BUSI, as Al-Dhabyani et al. 2020 publish them: normal, benign, malignant.
BUSI = (133, 437, 210)

#: Tiles of each tissue class in the source of kather-texture-mini.
TILES = (18, 8, 13, 12, 12, 10, 18, 9)

CONTEXT = DataContext(cache=Path("unused"))


def dataset(name: str) -> Hdf5Dataset:
    (plugin,) = [plugin for plugin in DATASETS if plugin.name == name]
    kind: type[Hdf5Dataset] = getattr(embedded, plugin.target.partition(":")[2])
    return kind(name, Settings())


@pytest.fixture(scope="module", params=EMBEDDED)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def class_counts(data: LabelledImages, split: str, classes: int) -> tuple[int, ...]:
    labels = data.labels[data.split == SPLITS[split]]
    return tuple(np.bincount(labels, minlength=classes).tolist())


@pytest.mark.parametrize("name", PUBLISHED)
def test_class_counts_are_the_published_ones(name: str) -> None:
    with dataset(name).open(CONTEXT) as data:
        counts = {
            split: class_counts(data, split, len(published))
            for split, published in PUBLISHED[name].items()
        }
    assert counts == PUBLISHED[name]


def test_every_embedded_file_matches_its_hashes(name: str) -> None:
    card = verify_images(dataset(name).path(CONTEXT))
    assert card == dataset(name).card(CONTEXT)
    assert card.name == name


def test_cards_are_complete(name: str) -> None:
    card = dataset(name).card(CONTEXT)
    assert card.modality
    assert card.licence.startswith("CC BY")
    assert "doi:10." in card.citation
    assert "doi:10." in card.source
    assert any("No patient ids" in fault for fault in card.confounders)
    with dataset(name).open(CONTEXT) as data:
        assert bool(card.group_meaning) == (data.groups is not None)


def test_the_licence_is_next_to_the_data(name: str) -> None:
    text = (embedded.DATA / f"{name}.LICENSE.txt").read_text(encoding="utf-8")
    licence = dataset(name).card(CONTEXT).licence
    url = {
        "CC BY 4.0": "https://creativecommons.org/licenses/by/4.0/",
        "CC BY-SA 4.0": "https://creativecommons.org/licenses/by-sa/4.0/",
    }[licence]
    assert f"({licence})" in text
    assert url in text
    for heading in ("Attribution", "Changes made"):
        assert heading in text


def test_the_embedded_data_stay_small() -> None:
    assert sum(entry.stat().st_size for entry in embedded.DATA.iterdir()) <= 40_000_000
    assert {entry.stem for entry in embedded.DATA.glob("*.h5")} == set(EMBEDDED)


def test_busi_is_complete_and_dealt_class_by_class() -> None:
    with dataset("busi-mini").open(CONTEXT) as data:
        counts = {split: np.array(class_counts(data, split, 3)) for split in SPLITS}
        folders = [identity.split("/")[0] for identity in data.ids]
        names = dataset("busi-mini").card(CONTEXT).class_names
        assert [names[label] for label in data.labels] == folders
    np.testing.assert_array_equal(sum(counts.values()), BUSI)
    for split, share in (("train", 0.7), ("validation", 0.1), ("test", 0.2)):
        assert (np.abs(counts[split] - share * np.array(BUSI)) <= 1).all()


def test_the_doubly_labelled_image_of_busi_is_in_the_card() -> None:
    """At 56 px the pair is still the only one: two labels for one image."""
    with dataset("busi-mini").open(CONTEXT) as data:
        (equal,) = sets_of_equal_images(data)
        assert set(data.ids[equal].tolist()) == {
            "benign/benign (433).png",
            "malignant/malignant (145).png",
        }
    faults = " ".join(dataset("busi-mini").card(CONTEXT).confounders)
    assert "benign (433) and malignant (145)" in faults


def nearly_blank(data: LabelledImages) -> np.ndarray:
    images = data.images[:]
    return images.reshape(len(images), -1).std(axis=1) < 2


@pytest.mark.parametrize("name", ["covid-qu-ex-mini", "pneumonia-mnist"])
def test_no_x_ray_is_blank(name: str) -> None:
    with dataset(name).open(CONTEXT) as data:
        assert data.images.dtype == np.uint8
        assert not nearly_blank(data).any()


def test_the_blank_patches_on_the_kather_card_are_counted_right() -> None:
    card = dataset("kather-texture-mini").card(CONTEXT)
    with dataset("kather-texture-mini").open(CONTEXT) as data:
        blank = data.labels[nearly_blank(data)]
    assert {card.class_names[label] for label in blank} == {"adipose tissue"}
    assert f"{len(blank)} patches of adipose tissue are nearly blank" in " ".join(card.confounders)


def test_lung_masks_cover_a_lung_s_share() -> None:
    with dataset("covid-qu-ex-mini").open(CONTEXT) as data:
        assert data.masks is not None
        masks = data.masks[:]
    assert set(np.unique(masks).tolist()) == {0, 1}
    assert 0.15 < masks.mean() < 0.4
    assert masks.reshape(len(masks), -1).any(axis=1).all()
    # lungs lie left and right of the spine, not at the image's rim
    heat = masks.mean(axis=0)
    assert heat[:, :2].max() < 0.1
    assert heat[32, 18] > heat[32, 32] < heat[32, 46]


def sets_of_equal_images(data: LabelledImages) -> list[list[int]]:
    places = defaultdict(list)
    for place, image in enumerate(data.images[:]):
        places[image.tobytes()].append(place)
    return [equal for equal in places.values() if len(equal) > 1]


def test_the_duplicate_on_the_covid_card_is_the_only_one() -> None:
    pair = {"Train/COVID-19/images/covid_686.png", "Test/COVID-19/images/covid_3155.png"}
    with dataset("covid-qu-ex-mini").open(CONTEXT) as data:
        (equal,) = sets_of_equal_images(data)
        assert set(data.ids[equal].tolist()) == pair
        assert set(data.split[equal].tolist()) == {SPLITS["train"], SPLITS["test"]}
    faults = " ".join(dataset("covid-qu-ex-mini").card(CONTEXT).confounders)
    assert all(identity in faults for identity in pair)
    assert "hospital" in faults
    assert "age" in faults


def test_the_duplicates_on_the_pneumonia_card_are_counted_right() -> None:
    with dataset("pneumonia-mnist").open(CONTEXT) as data:
        equal = sets_of_equal_images(data)
        splits = [set(data.split[places].tolist()) for places in equal]
        assert all(len(set(data.labels[places].tolist())) == 1 for places in equal)
    faults = " ".join(dataset("pneumonia-mnist").card(CONTEXT).confounders)
    assert f"{len(equal)} sets, {sum(map(len, equal))} images in all" in faults
    assert f"{splits.count({SPLITS['train'], SPLITS['validation']})} sets span" in faults
    assert not any(SPLITS["test"] in found and len(found) > 1 for found in splits)


def test_no_tile_is_in_two_splits_or_classes() -> None:
    with dataset("kather-texture-mini").open(CONTEXT) as data:
        assert data.groups is not None
        tiles = np.unique(data.groups)
        assert len(tiles) == 100
        for tile in tiles:
            of_tile = data.groups == tile
            assert of_tile.sum() == 16
            assert len(np.unique(data.split[of_tile])) == 1
            assert len(np.unique(data.labels[of_tile])) == 1
            expected = {f"{tile}/r{row}c{column}" for row in range(4) for column in range(4)}
            assert set(data.ids[of_tile].tolist()) == expected


def test_tiles_are_dealt_class_by_class() -> None:
    with dataset("kather-texture-mini").open(CONTEXT) as data:
        tiles = {split: np.array(class_counts(data, split, len(TILES))) / 16 for split in SPLITS}
        labels_in_names = [int(identity.split("_label_")[1][0]) for identity in data.ids]
        np.testing.assert_array_equal(data.labels, labels_in_names)
    np.testing.assert_array_equal(sum(tiles.values()), TILES)
    assert (tiles["validation"] >= 1).all()
    assert (tiles["test"] >= 2).all()
    for split, share in (("train", 0.60), ("validation", 0.15), ("test", 0.25)):
        assert (np.abs(tiles[split] - share * np.array(TILES)) <= 1).all()


def test_patches_of_a_tile_fit_together() -> None:
    """Across an inner cut, neighbours resemble each other more than across a random seam."""
    with dataset("kather-texture-mini").open(CONTEXT) as data:
        grid = data.images[:].reshape(100, 4, 4, 56, 56, 3).astype(np.int16)
    across = np.abs(grid[:, :, :-1, :, -1] - grid[:, :, 1:, :, 0]).mean()
    down = np.abs(grid[:, :-1, :, -1] - grid[:, 1:, :, 0]).mean()
    inside = np.abs(grid[:, :, :, :, 27] - grid[:, :, :, :, 28]).mean()
    wrong = np.abs(grid[:, :, :-1, :, 0] - grid[:, :, 1:, :, -1]).mean()
    assert max(across, down) < 1.5 * inside < wrong


@pytest.mark.parametrize(
    "cls", [originals.NctCrcHe100k, originals.CovidQuEx], ids=lambda cls: cls.__name__
)
@pytest.mark.parametrize("action", ["card", "open"])
def test_an_unprepared_dataset_names_the_command(
    tmp_path: Path, cls: type[Hdf5Dataset], action: str
) -> None:
    name = {"NctCrcHe100k": "nct-crc-he-100k", "CovidQuEx": "covid-qu-ex"}[cls.__name__]
    with pytest.raises(NotPreparedError) as caught:
        getattr(cls(name, Settings()), action)(DataContext(cache=tmp_path))
    assert f"medbench data prepare {name}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_prepared_file_is_read_from_the_cache(tmp_path: Path) -> None:
    prepared = originals.CovidQuEx("covid-qu-ex", Settings())
    whole = (embedded.DATA / "pneumonia-mnist.h5").read_bytes()
    (tmp_path / "covid-qu-ex.h5").write_bytes(whole)
    context = DataContext(cache=tmp_path)
    assert prepared.card(context).name == "covid-qu-ex"
    with prepared.open(context) as data:
        assert data.images.shape == (5856, 28, 28, 1)
    (tmp_path / "covid-qu-ex.h5").write_bytes(whole[:1000])
    with pytest.raises(MedbenchError, match=r"covid-qu-ex\.h5.*data prepare covid-qu-ex"):
        prepared.card(context)


def test_variants_share_the_file_of_their_plugin_unless_they_have_their_own(tmp_path: Path) -> None:
    context = DataContext(cache=tmp_path)
    variants = [originals.NctCrcHe100k(name, Settings()) for name in ("nct-narrow", "nct-vit")]
    for variant in variants:
        with pytest.raises(NotPreparedError, match=r"run: medbench data prepare nct-crc-he-100k "):
            variant.path(context)
    shared, own = tmp_path / "nct-crc-he-100k.h5", tmp_path / "nct-vit.h5"
    shared.write_bytes((embedded.DATA / "pneumonia-mnist.h5").read_bytes())
    assert [variant.path(context) for variant in variants] == [shared, shared]
    first, second = (variant.card(context) for variant in variants)
    assert (first.name, second.name) == ("nct-narrow", "nct-vit")
    assert first.content_hash == second.content_hash
    own.write_bytes((embedded.DATA / "busi-mini.h5").read_bytes())
    assert [variant.path(context) for variant in variants] == [shared, own]


def test_corrected_versions_and_images_of_the_user_share_no_file(tmp_path: Path) -> None:
    for name in ("nct-crc-he-100k", "folder", "clinic"):
        (tmp_path / f"{name}.h5").touch()
    version = originals.NctCrcHe100k("nct-crc-he-100k@2", Settings())
    for missing in (version, folder.FolderDataset("other-clinic", Settings())):
        with pytest.raises(NotPreparedError, match=f"{missing.name}.h5 is missing"):
            missing.path(DataContext(cache=tmp_path))


def test_every_announced_class_exists_and_is_a_dataset() -> None:
    names = [plugin.name for plugin in DATASETS]
    assert names[:8] == [*EMBEDDED, "nct-crc-he-100k", "covid-qu-ex", "busi", "bccd"]
    assert "folder" in names
    assert "medmnist:pathmnist" in names and len(set(names)) == len(names)
    for plugin in DATASETS:
        module, _, attribute = plugin.target.partition(":")
        found = getattr(importlib.import_module(module), attribute)
        assert issubclass(found, Hdf5Dataset)
        assert plugin.interface == 1
        assert plugin.summary


def test_announcing_imports_neither_torch_nor_hdf5() -> None:
    code = (
        f"import sys; import {medbench_plugins.datasets.__name__};"
        "print([name for name in ('torch', 'h5py') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

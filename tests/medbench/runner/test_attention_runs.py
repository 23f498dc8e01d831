"""Whole runs with attention: what their records hold, and what it costs them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from carry import carry_out
from commandline import medbench, tiny_protocol

import medbench as package
from medbench.attention import balanced
from medbench.engine.samples import RunImages, Split
from medbench.interfaces.options import AttentionOptions
from medbench.runner.local.evaluator import Shown
from medbench.runner.verification import check_folder, record_faults
from medbench.store.records import digest_of, read_record
from medbench.store.results import ResultsFolder

ATTENTION = "[attention]\nimages = 9\ncheck_images = 3\nfeatures = 20"
WITH_MASKS = {"datasets": ["covid-qu-ex-mini"]}


def ran(folder: Path, *tables: str, **grid: list[object]) -> ResultsFolder:
    folder.mkdir()
    file = folder / "tiny.toml"
    file.write_text(tiny_protocol(*tables, **{**WITH_MASKS, **grid}))
    ended = medbench(
        *("run", "--all", "--protocol", file, "--results", folder / "results"),
        *("--jobs", "2", "--device", "cpu"),
    )
    assert ended.status == 0, ended.err
    return ResultsFolder.open(folder / "results")


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("attention")
    asked = ran(folder / "with", ATTENTION)
    plain = ran(folder / "without")
    path = asked.record_path(package.load(asked.root).find())
    (without,) = plain.done("runs")
    return SimpleNamespace(
        results=asked, path=path, record=read_record(path),
        plain=read_record(plain.record_path(without)), folder=folder,
    )  # fmt: skip


def test_a_record_holds_attention_and_its_readings(grid: SimpleNamespace) -> None:
    arrays, summary = grid.record.arrays, grid.record.header.summary["attention"]
    shapes = {name: array.shape for name, array in arrays.items() if name.startswith("attention/")}
    assert shapes == {
        "attention/maps": (9, 4, 4), "attention/random": (9, 4, 4), "attention/masks": (9, 4, 4),
        "attention/occlusion": (3, 4, 4), "attention/blanked": (2, 9, 3),
        "attention/features": (20, 2),
    }  # fmt: skip
    assert summary["images"] == 9
    assert summary["masked"] == 9
    assert 0.1 < summary["all"]["area"] < 0.5
    chosen = balanced(arrays["test/ids"], arrays["test/labels"], 9)
    assert np.bincount(arrays["test/labels"][chosen]).tolist() == [3, 3, 3]
    assert grid.record.header.metadata["resources"]["attention_seconds"] > 0


def test_a_run_without_attention_keeps_its_key_and_both_have_the_same_bits(
    grid: SimpleNamespace,
) -> None:
    assert "attention" not in grid.plain.header.spec
    assert "attention" not in grid.plain.header.summary
    assert grid.plain.header.key != grid.record.header.key
    for name, array in grid.plain.arrays.items():
        np.testing.assert_array_equal(array, grid.record.arrays[name], err_msg=name)


REFINEMENT = "[refinement]\nrounds = 2\nbudget = 4\nepochs = 1"


def test_of_a_refinement_attention_is_that_after_its_last_round(tmp_path: Path) -> None:
    axes: dict[str, list[object]] = {"methods": ["co-teaching"], "acquisitions": ["random"]}
    found = {}
    for name, tables in {"with": (ATTENTION, REFINEMENT), "without": (REFINEMENT,)}.items():
        file, root = tmp_path / f"{name}.toml", tmp_path / name
        file.write_text(tiny_protocol(*tables, **WITH_MASKS, **axes))
        carry_out(file, root, jobs=2)
        results = ResultsFolder.open(root)
        assert not check_folder(results).faults
        for key in results.done("runs"):
            record = read_record(results.record_path(key))
            found[name, "acquisition" in record.header.axes] = record
    first, refined = found["with", False].arrays, found["with", True].arrays
    for arrays in (first, refined):
        assert arrays["attention/maps"].shape == (9, 4, 4)
        assert arrays["attention/blanked"].shape == (2, 9, 3)
    assert (first["attention/maps"] != refined["attention/maps"]).any()
    chosen = balanced(first["test/ids"], first["test/labels"], 9)
    last = [arrays["test/probabilities"][-1, chosen].argmax(1) for arrays in (first, refined)]
    same = last[0] == last[1]  # one initial network, shown for the class that is predicted
    assert same.any()
    np.testing.assert_array_equal(
        first["attention/random"][same], refined["attention/random"][same]
    )
    for name, array in found["without", True].arrays.items():
        np.testing.assert_array_equal(array, refined[name], err_msg=name)


def test_results_say_where_networks_look(grid: SimpleNamespace) -> None:
    results = package.load(grid.results.root)
    table = results.attention
    assert table["pretext"].tolist() == ["none"]
    key = table["run_key"][0]
    images = results.run_attention(key)
    assert images is not None
    assert len(images) == 9
    for name in ("area", "energy", "pointing", "iou", "random_energy", "occlusion_iou", "right"):
        assert images[name].mean() == pytest.approx(table[name][0], nan_ok=True)


def tiny_images() -> RunImages:
    rng = np.random.default_rng(0)

    def split(count: int, name: str) -> Split:
        pixels = rng.integers(0, 256, (count, 4, 4, 1), dtype=np.uint8)
        return Split(pixels, np.arange(count) % 2, np.array([f"{name}{i}" for i in range(count)]),
                     None)  # fmt: skip

    train, test = split(10, "train"), split(8, "test")
    return RunImages(None, train, train, test, train.images)  # type: ignore[arg-type]


def test_the_training_process_gets_blanked_images_but_no_labels_and_no_masks() -> None:
    images, chosen = tiny_images(), np.array([1, 2, 5])
    masks = np.zeros((3, 4, 4), np.uint8)
    masks[:, :2] = 1
    options = AttentionOptions(images=3, check_images=2, features=4)
    given = Shown(options, chosen, masks).given(images)
    assert given.keys() == {"options", "images", "occluded", "blank", "features", "blanked"}
    assert len(given["occluded"]) == 2 and len(given["features"]) == 4
    colour = round(float(images.train.images.mean()))
    assert given["blank"].tolist() == [colour]
    inside, outside = given["blanked"]
    whole = images.test.images[chosen]
    np.testing.assert_array_equal(inside[:, :2], whole[:, :2])
    np.testing.assert_array_equal(outside[:, 2:], whole[:, 2:])
    assert (inside[:, 2:] == colour).all() and (outside[:, :2] == colour).all()


def test_without_masks_or_check_there_is_less_to_do() -> None:
    options = AttentionOptions(images=3, check="none")
    shown = Shown(options, np.array([1, 2, 5]), None)
    given = shown.given(tiny_images())
    assert "blanked" not in given and len(given["occluded"]) == 0
    assert shown.arrays({"attention/maps": np.zeros((3, 4, 4))}).keys() == {"attention/maps"}


def test_verify_finds_attention_that_the_maps_do_not_give(grid: SimpleNamespace) -> None:
    assert medbench("verify", "--results", grid.results.root).status == 0
    header, arrays = grid.record.header, dict(grid.record.arrays)
    arrays["attention/maps"] = arrays["attention/maps"][:, ::-1]
    digest = digest_of(header.key, header.axes, header.spec, header.summary, arrays)
    forged = dataclasses.replace(
        grid.record, header=dataclasses.replace(header, digest=digest), arrays=arrays
    )
    assert any("attention all." in fault for fault in record_faults(grid.path, forged))
    assert not list(record_faults(grid.path, grid.record))


def test_an_unknown_layer_fails_in_one_line_before_training(
    tmp_path: Path,
) -> None:
    file = tmp_path / "tiny.toml"
    file.write_text(tiny_protocol('[attention]\nlayer = "block.9"', **WITH_MASKS))
    ended = medbench(
        *("run", "--all", "--protocol", file, "--results", tmp_path / "results"),
        *("--jobs", "1", "--device", "cpu"),
    )
    assert ended.status != 0
    assert "[attention] layer: the backbone has no layer 'block.9'" in ended.out + ended.err
    assert "Traceback" not in ended.out + ended.err

"""Noisy labels leave medbench exactly as runs meet them, and come back the same."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commandline import medbench

from medbench.engine.samples import corrupt_labels, load_images
from medbench.errors import MedbenchError
from medbench.interfaces import DataContext
from medbench.plugins.registry import discover
from medbench.protocol.read import read_protocol
from medbench.protocol.runs import expand
from medbench.protocol.spec import RunSpec
from medbench.store.records import read_record
from medbench.store.results import ResultsFolder
from medbench.store.status import run_statuses

PROTOCOL = """
name = "shared"
images = {{ size = 16, train = 64, validation = 32, test = 32 }}
backbone = {{ name = "narrow", width = 8 }}
training = {{ epochs = 1, batch_size = 32 }}

[grid]
datasets = ["kather-texture-mini"]
noise = [{noise}]
rates = [{rates}]
pretexts = ["none"]
methods = ["cross-entropy"]
seeds = [0, 1]
{more}
"""


def protocol(path: Path, noise: str = '"symmetric"', rates: str = "0.3", more: str = "") -> Path:
    path.write_text(PROTOCOL.format(noise=noise, rates=rates, more=more), encoding="utf-8")
    return path


def export(folder: Path, *more: object, **settings: str) -> Any:
    file = protocol(folder / "shared.toml", **settings)
    ended = medbench("labels", "--protocol", file, "--out", folder / "labels", "--json", *more)
    assert ended.status == 0, ended.err
    return ended.json


def rows(path: str) -> list[dict[str, str]]:
    with Path(path).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def runs(path: Path) -> list[RunSpec]:
    return list(expand(read_protocol(path), discover(), DataContext(Path("unused"))).runs)


def drawn(run: RunSpec) -> Any:
    registry = discover()
    dataset, model = run.dataset.create(registry, "dataset"), run.noise.create(registry, "noise")
    images = load_images(dataset, DataContext(Path("unused")), run.images, run.root_seed, run.seed)
    name = run.dataset.name
    return images, corrupt_labels(model, run.rate, images, name, run.root_seed, run.seed)


def test_exported_labels_are_those_in_the_record(tmp_path: Path) -> None:
    first, second = export(tmp_path)
    results = tmp_path / "results"
    words = ["--protocol", tmp_path / "shared.toml", "--results", results, "--jobs", "1"]
    assert medbench("run", "--seed", "0", *words).status == 0
    (done,) = [
        state for state in run_statuses(ResultsFolder.open(results)) if state.status == "done"
    ]
    record = read_record(ResultsFolder.open(results).record_path(done.run.key))
    for split, labels in (
        ("train", "train/noisy_labels"),
        ("validation", "validation/noisy_labels"),
    ):
        exported = [row for row in rows(first["file"]) if row["split"] == split]
        np.testing.assert_array_equal([int(r["label"]) for r in exported], record.arrays[labels])
        if split == "train":
            assert [row["id"] for row in exported] == record.arrays["train/ids"].tolist()
        assert all(first["classes"][int(row["label"])] == row["class"] for row in exported)
    assert record.header.summary["noise"]["labels_hash"] == first["labels_hash"]
    assert first["labels_hash"] != second["labels_hash"]
    written = json.loads(Path(first["file"]).with_suffix(".json").read_text("utf-8"))
    assert written == first


def test_no_clean_label_and_no_test_image_is_exported(tmp_path: Path) -> None:
    (first, *_) = export(tmp_path, "--seed", "0")
    images, noise = drawn(runs(tmp_path / "shared.toml")[0])
    exported = rows(first["file"])
    assert set(exported[0]) == {"id", "split", "label", "class"}
    assert not {row["id"] for row in exported} & set(images.test.ids.tolist())
    text = Path(first["file"]).with_suffix(".json").read_text("utf-8")
    assert "realised" not in text
    assert (noise.train != images.train.labels).any()


def test_what_was_exported_comes_back_the_same(tmp_path: Path) -> None:
    (exported,) = export(tmp_path, "--seed", "0")
    file = exported["file"]
    _, noise = drawn(runs(tmp_path / "shared.toml")[0])
    back = protocol(tmp_path / "back.toml", '"given"', "0.3", f'[noise.given]\nfile = "{file}"')
    _, returned = drawn(runs(back)[0])
    assert returned.labels_hash() == exported["labels_hash"] == noise.labels_hash()
    assert returned.matrix is None
    np.testing.assert_array_equal(returned.realised, noise.realised)


def test_filters_leave_a_part_and_an_unknown_value_is_named(tmp_path: Path) -> None:
    made = export(tmp_path, "--rate", "0.3", "--seed", "1", rates="0.1, 0.3")
    assert [(entry["rate"], entry["seed"]) for entry in made] == [(0.3, 1)]
    file = tmp_path / "shared.toml"
    ended = medbench("labels", "--protocol", file, "--seed", "9", "--out", tmp_path / "x")
    assert (ended.status, ended.out) == (2, "")
    assert "has no seed 9; it has 0, 1" in ended.err


def test_labels_of_a_noise_model_in_a_file(tmp_path: Path) -> None:
    plugin = tmp_path / "still.py"
    plugin.write_text(
        "from medbench.interfaces import NoiseModel\n\n\n"
        "class Still(NoiseModel):\n"
        '    """Changes nothing."""\n\n'
        "    def transition_matrix(self, class_names, dataset, rate):\n"
        "        return None\n\n"
        "    def corrupt(self, data, rate, rng):\n"
        "        return data.labels.copy()\n"
    )
    found = export(tmp_path, "--plugin", plugin, "--noise", "still", "--seed", 0)
    assert [row["noise"] for row in found] == ["still"]
    other = export(tmp_path, "--add", "pair-flip", "--set", "root_seed=7")
    assert {(row["noise"], row["root_seed"]) for row in other} == {
        ("symmetric", 7),
        ("pair-flip", 7),
    }


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    file = protocol(tmp_path / "shared.toml")
    ended = medbench("labels", "--protocol", file, "--out", tmp_path / "file" / "labels")
    assert ended.status == 2
    assert "cannot be written" in ended.err and ended.err.count("\n") == 1


# ---------------------------------------------------------------- what somebody gives


def given(folder: Path, text: str, rates: str = "0.3") -> Path:
    (folder / "labels.csv").write_text(text, encoding="utf-8")
    more = f'[noise.given]\nfile = "{folder / "labels.csv"}"'
    return protocol(folder / "given.toml", '"given"', rates, more)


def ids(folder: Path) -> tuple[list[str], np.ndarray]:
    images, _ = drawn(runs(protocol(folder / "plain.toml"))[0])
    parts = (images.train, images.validation)
    return (
        [name for part in parts for name in part.ids.tolist()],
        np.concatenate([part.labels for part in parts]),
    )


def table(names: list[str], labels: Any) -> str:
    return "label,id\n" + "".join(f"{b},{a}\n" for a, b in zip(names, labels, strict=True))


def test_given_labels_may_be_names_or_numbers_in_any_order(tmp_path: Path) -> None:
    names, clean = ids(tmp_path)
    wrong = np.where(np.arange(len(clean)) % 10 < 3, (clean + 1) % 8, clean)
    classes = drawn(runs(tmp_path / "plain.toml")[0])[0].card.class_names
    mixed = [classes[v] if place % 2 else str(v) for place, v in enumerate(wrong)]
    _, noise = drawn(runs(given(tmp_path, table(names[::-1], mixed[::-1])))[0])
    np.testing.assert_array_equal(np.concatenate([noise.train, noise.validation]), wrong)


def test_other_labels_are_other_runs(tmp_path: Path) -> None:
    names, clean = ids(tmp_path)
    before = runs(given(tmp_path, table(names, clean), "0.0"))
    same = runs(given(tmp_path, table(names, clean), "0.0"))
    after = runs(given(tmp_path, table(names, np.roll(clean, 1)), "0.0"))
    assert [run.key for run in before] == [run.key for run in same]
    assert not {run.key for run in before} & {run.key for run in after}
    with pytest.raises(MedbenchError, match="has changed since this run was planned"):
        drawn(before[0])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda n, c: table(n[1:], c[1:]), r"no label for 1 of 96 samples .*add them"),
        (lambda n, c: table(n, [*c[:-1], 8]), r"line 97: label '8' is no class; give one of"),
        (lambda n, c: table([*n, n[0]], [*c, (c[0] + 1) % 8]), r"line 98: a second label for"),
        (lambda n, c: "name,label\n", r"first line holds name, label; expected two columns"),
        (lambda n, c: table(n, (c + 1) % 8), r"1\.00 of the labels used are wrong.*grid\.rates"),
    ],
)
def test_labels_that_do_not_fit_are_named(tmp_path: Path, change: Any, reason: str) -> None:
    names, clean = ids(tmp_path)
    file = given(tmp_path, change(names, clean), "0.0")
    with pytest.raises(MedbenchError, match=reason) as said:
        drawn(runs(file)[0])
    assert "\n" not in str(said.value)


def test_a_file_that_is_not_there_is_said_before_anything_runs(tmp_path: Path) -> None:
    file = protocol(tmp_path / "a.toml", '"given"', "0.3", '[noise.given]\nfile = "nowhere.csv"')
    ended = medbench("run", "--all", "--protocol", file, "--dry-run")
    assert ended.status == 2
    assert "nowhere.csv cannot be read" in ended.err
    file = protocol(tmp_path / "b.toml", '"given"')
    ended = medbench("run", "--all", "--protocol", file, "--dry-run")
    assert ended.status == 2
    assert "has no labels for dataset 'kather-texture-mini'" in ended.err

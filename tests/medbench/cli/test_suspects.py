"""`medbench suspects` and `medbench relabel`, as a user calls them."""

from __future__ import annotations

import csv
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from commandline import medbench
from PIL import Image

from medbench.cli.datasets import dataset_named
from medbench.interfaces.dataset import DataContext
from medbench.plugins.registry import discover
from medbench.suspects.table import COLUMNS

DOC = Path(__file__).parents[3] / "docs" / "suspects.md"
PLANTED = 6


def write_images(folder: Path, per_class: int = 30) -> dict[str, str]:
    """Write images of stripes and of squares, of which six are in the wrong folder.

    Returns the true class of each image in a wrong folder, by its id.
    """
    rng = np.random.default_rng(0)
    wrong = {}
    for code, name in enumerate(("squares", "stripes")):
        for number in range(per_class):
            image = rng.normal(100, 12, (16, 16))
            if name == "stripes":
                image[:, rng.integers(0, 4) :: 4] += 90
            else:
                top, left = rng.integers(0, 8, 2)
                image[top : top + 8, left : left + 8] += 90
            given = name
            if number < PLANTED // 2:
                given = ("squares", "stripes")[1 - code]
                wrong[f"{given}/{name}-{number}.png"] = name
            path = folder / given / f"{name}-{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(path)
    return wrong


@dataclass(frozen=True)
class Clinic:
    folder: Path
    wrong: dict[str, str]

    def call(self, *arguments: object) -> object:
        return medbench(*arguments, "--cache", self.folder / "cache", cwd=self.folder)

    def rows(self) -> list[dict[str, str]]:
        path = self.folder / "medbench-suspects" / "clinic" / "suspects.csv"
        with path.open(encoding="utf-8", newline="") as stream:
            return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Clinic:
    folder = tmp_path_factory.mktemp("clinic")
    found = Clinic(folder, write_images(folder / "images"))
    found.call("data", "prepare", "folder:clinic", folder / "images", "--workers", "1")
    ended = found.call("suspects", "--dataset", "clinic")
    assert ended.status == 0, ended.err
    return found


def test_the_planted_errors_come_first_and_the_files_are_as_described(clinic: Clinic) -> None:
    rows = clinic.rows()
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == 60
    assert {row["id"] for row in rows[:PLANTED]} == set(clinic.wrong)
    assert all(row["suggested_label"] == clinic.wrong[row["id"]] for row in rows[:PLANTED])
    assert [int(row["rank"]) for row in rows] == list(range(1, 61))
    probabilities = [float(row["probability_wrong"]) for row in rows]
    assert probabilities == sorted(probabilities, reverse=True)
    assert min(probabilities[:PLANTED]) > 0.5 > max(probabilities[PLANTED:])


def test_the_same_images_give_the_same_bytes(clinic: Clinic) -> None:
    folder = clinic.folder / "medbench-suspects" / "clinic"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    ended = clinic.call("suspects", "--dataset", "clinic", "--json")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    low, high = ended.json[0]["bounds"]
    assert low <= PLANTED <= high


def test_the_datasets_of_a_protocol_are_searched(clinic: Clinic) -> None:
    protocol = clinic.folder / "cache" / "clinic.toml"
    ended = clinic.call("suspects", "--protocol", protocol, "--out", "there", "--json")
    assert ended.status == 0, ended.err
    first = clinic.folder / "medbench-suspects" / "clinic" / "suspects.csv"
    assert (clinic.folder / "there" / "suspects.csv").read_bytes() == first.read_bytes()


def test_the_datasets_of_a_plugin_file_are_searched(clinic: Clinic, tmp_path: Path) -> None:
    plugin = tmp_path / "wards.py"
    plugin.write_text(
        "from medbench.data import Hdf5Dataset\n\n\n"
        "class Ward(Hdf5Dataset):\n"
        '    """The images of the clinic under another name."""\n\n'
        "    def path(self, context):\n"
        "        return context.cache / 'clinic.h5'\n\n"
        "    def fix(self, context):\n"
        "        return 'prepare the clinic'\n"
    )
    out = tmp_path / "out"
    ended = clinic.call("suspects", "--dataset", "ward", "--plugin", plugin, "--out", out)
    assert ended.status == 0, ended.err
    assert len((out / "suspects.csv").read_text().splitlines()) == 61


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "give --dataset NAME or --protocol NAME"),
        (("--dataset", "clinc"), "no dataset is called 'clinc'; did you mean 'clinic'?"),
        (("--dataset", "busi"), "dataset 'busi' is not prepared"),
        (("--dataset", "clinic", "--time", "soon"), "'soon' is no duration"),
    ],
)
def test_a_wrong_call_is_one_line(arguments: tuple[str, ...], said: str, clinic: Clinic) -> None:
    ended = clinic.call("suspects", *arguments)
    assert ended.status == 2
    assert ended.err.count("\n") == 1
    assert said in ended.err


def test_only_a_prepared_dataset_can_be_relabelled(clinic: Clinic, tmp_path: Path) -> None:
    file = tmp_path / "c.csv"
    file.write_text("id,label,who\n1,normal,Ada\n")
    ended = clinic.call("relabel", "--dataset", "pneumonia-mnist", file)
    assert (ended.status, ended.err.count("\n")) == (2, 1)
    assert "only prepared datasets can be corrected" in ended.err


def test_a_published_set_is_corrected_under_the_name_of_its_file(clinic: Clinic) -> None:
    cache = clinic.folder / "published"
    cache.mkdir()
    file = cache / "medmnist-bloodmnist-28.h5"
    file.write_bytes((clinic.folder / "cache" / "clinic.h5").read_bytes())
    name, label = next(iter(clinic.wrong.items()))
    corrections = cache / "c.csv"
    corrections.write_text(f"id,label,who\n{name},{label},Ada\n")
    ended = medbench("relabel", "--dataset", "medmnist:bloodmnist", corrections, "--cache", cache)
    assert ended.status == 0, ended.err
    made = ended.out.partition(":")[0]
    context = DataContext(cache)
    with dataset_named(made, discover(), context).open(context) as data:
        labels = dict(zip(data.ids.tolist(), data.labels.tolist(), strict=True))
    assert labels[name] == ("squares", "stripes").index(label)


def documented() -> list[list[str]]:
    """Return the commands at the top of the page about suspects."""
    found = re.search(r"```\n(.*?)```", DOC.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    commands = [shlex.split(line, comments=True) for line in found[1].splitlines()]
    assert all(command[0] == "medbench" for command in commands)
    return [command[1:] for command in commands]


@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_documented_commands_lead_from_a_folder_to_a_board(
    whole: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MEDBENCH_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    wrong = write_images(tmp_path / "images")
    commands = documented()
    assert len(commands) <= 5
    for command in commands:
        arguments = [word.replace("~", str(tmp_path)) for word in command]
        if arguments[0] == "relabel":  # what a specialist does on the sheet
            rows = [f"{name},{label},Ada" for name, label in wrong.items()]
            (tmp_path / arguments[-1]).write_text("\n".join(["id,label,who", *rows]))
        if arguments[0] == "run" and not whole:
            arguments.append("--dry-run")
        ended = medbench(*arguments, cwd=tmp_path)
        assert ended.status == 0, ended.err
        if arguments[0] == "data":
            assert "Next:" in ended.out
    corrected = medbench("relabel", "--dataset", "my-clinic", "--json", cwd=tmp_path).json
    assert [version["changed"] for version in corrected] == [0, PLANTED]
    again = medbench("suspects", "--dataset", "my-clinic@2", "--json", cwd=tmp_path).json[0]
    assert again["wrong"] < 1.5
    if whole:
        assert list(tmp_path.glob("medbench-results/*/board/index.html"))

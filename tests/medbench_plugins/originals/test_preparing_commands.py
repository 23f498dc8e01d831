"""The commands that prepare, list and verify datasets."""

from __future__ import annotations

import csv
import json
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from original_trees import Files, embedded_images, write_tree

from medbench.cli import cli
from medbench.errors import MedbenchError
from medbench.interfaces import DataContext
from medbench.plugins.registry import discover
from medbench.protocol.read import protocol_named
from medbench.protocol.runs import expand


def medbench(cache: Path, *words: object) -> Result:
    return CliRunner().invoke(cli, [*map(str, words), "--cache", str(cache)])


def test_from_a_folder_of_images_to_a_plan_with_two_commands(
    tmp_path: Path, clinic: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cache = tmp_path / "a cache"  # with a space: commands must be quoted
    images = write_tree(tmp_path / "images", clinic)
    done = medbench(cache, "data", "prepare", "folder:my-clinic", images, "--workers", 1)
    assert done.exit_code == 0, done.output
    planned = CliRunner().invoke(cli, [*recommended(done), "--dry-run"])
    assert planned.exit_code == 0, planned.output
    assert "42 to do" in planned.output
    for question in ("methods", "pretraining"):
        assert f"Question {question} can be decided" in planned.output
    listed = medbench(cache, "data", "list", "--json")
    rows = {row["name"]: row for row in json.loads(listed.stdout)}
    assert rows["my-clinic"]["state"] == "ready"
    assert rows["my-clinic"]["card"]["trusted"] == []
    assert "labels as given in train, validation, test; they may be wrong" in done.output
    table = medbench(cache, "data", "list").output
    assert next(line for line in table.splitlines() if "my-clinic" in line).count("as given") == 1
    assert rows["medmnist:bloodmnist"]["state"] == "not prepared"
    assert "prepare medmnist:bloodmnist bloodmnist.npz" in rows["medmnist:bloodmnist"]["fix"]


def test_from_wrong_labels_to_a_plan_by_the_commands_that_are_printed(
    tmp_path: Path, clinic: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cache = tmp_path / "a cache"
    images = write_tree(tmp_path / "images", clinic)
    assert medbench(cache, "data", "prepare", "folder:my-clinic", images).exit_code == 0
    found = medbench(cache, "suspects", "--dataset", "my-clinic")
    assert found.exit_code == 0, found.output
    with Path("medbench-suspects/my-clinic/suspects.csv").open() as file:
        row = next(csv.DictReader(file))
    Path("CORRECTIONS.csv").write_text(f"id,label,who\n{row['id']},{row['suggested_label']},me\n")
    corrected = CliRunner().invoke(cli, recommended(found))
    assert corrected.exit_code == 0, corrected.output
    planned = CliRunner().invoke(cli, [*recommended(corrected), "--dry-run"])
    assert planned.exit_code == 0, planned.output


def recommended(ended: Result) -> list[str]:
    """Return the words after ``medbench`` of the command that a message names as the next."""
    (line,) = re.findall(r"^Next: medbench (.*)$", ended.output, re.MULTILINE)
    return shlex.split(line)


def test_trust_is_told_on_the_command_line(tmp_path: Path, clinic: Files) -> None:
    images = write_tree(tmp_path / "images", clinic)
    told = ("--trusted", "test", "--trusted", "validation,train")
    named = ("data", "prepare", "folder:mine", images, "--workers", 1, "--json")
    card = json.loads(medbench(tmp_path, *named, *told).stdout)["card"]
    assert "trusted" not in card  # all are
    card = json.loads(medbench(tmp_path, *named, *told[:2]).stdout)["card"]
    assert card["trusted"] == ["test"]
    wrong = medbench(tmp_path, *named, "--trusted", "tests")
    assert "'tests': no split; give one of train, validation, test" in str(wrong.exception)
    others = medbench(tmp_path, "data", "prepare", "busi", images, *told)
    assert "labels of busi are trusted: leave --trusted out" in str(others.exception)


PROTOCOL = """
name = "two"
[grid]
datasets = ["my-clinic", "pneumonia-mnist"]
noise = ["symmetric"]
rates = [0.2]
pretexts = ["none"]
methods = ["cross-entropy"]
seeds = [0]
[images]
size = 28
train = 20
validation = 4
test = 8
"""


def test_prepared_images_have_their_name_in_every_command(
    tmp_path: Path, clinic: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cache = tmp_path / "cache"
    images = write_tree(tmp_path / "images", clinic)
    assert medbench(cache, "data", "prepare", "folder:my-clinic", images).exit_code == 0
    shown = medbench(cache, "show", "dataset", "my-clinic")
    assert shown.stdout.startswith("dataset my-clinic\n")
    assert "class names: healthy, ill" in shown.stdout
    card = json.loads(medbench(cache, "show", "dataset", "my-clinic", "--json").stdout)["card"]
    assert card["name"] == "my-clinic"
    # a protocol needs no table for it, and one gives the same runs
    (tmp_path / "two.toml").write_text(PROTOCOL)
    (tmp_path / "table.toml").write_text(PROTOCOL + '[datasets.my-clinic]\nplugin = "folder"\n')
    registry, context = discover(), DataContext(cache)
    two, table = (
        [run.key for run in expand(protocol_named(name, registry), registry, context).runs]
        for name in ("two.toml", "table.toml")
    )
    assert two == table
    one = medbench(cache, "run", "--dry-run", "--protocol", "two.toml", "--dataset", "my-clinic")
    assert "1 to do" in one.output
    # and any other protocol takes it
    refused = medbench(cache, "run", "--dry-run", "--dataset", "my-clinic")
    assert "; --add my-clinic enters it" in str(refused.exception)
    added = medbench(cache, "run", "--dry-run", "--add", "my-clinic", "--dataset", "my-clinic")
    assert added.exit_code == 0, added.output
    text = medbench(cache, "show", "protocol", "quick", "--add", "my-clinic").stdout
    assert '"my-clinic"' in text
    unknown = medbench(cache, "show", "dataset", "my-clinics")
    assert "no dataset is called 'my-clinics'; did you mean 'my-clinic'?" in str(unknown.exception)


def test_copies_are_listed_and_kept_in_one_split(tmp_path: Path, clinic: Files) -> None:
    names = sorted(clinic)
    files = {name: clinic[names[0]] if name == names[-1] else clinic[name] for name in names}
    images = write_tree(tmp_path / "images", files)
    done = medbench(tmp_path, "data", "prepare", "folder:my-clinic", images)
    assert "Copies, equal or alike: 2 images in 1 set;" in done.output
    assert f"all copies: {tmp_path / 'my-clinic-duplicates.csv'}" in done.output
    assert f"pictures of them: {tmp_path / 'my-clinic-duplicates.html'}" in done.output
    rows = (tmp_path / "my-clinic-duplicates.csv").read_text("utf-8").splitlines()
    assert len(rows) == 3
    first, second = (row.split(",") for row in rows[1:])
    assert first[3] == second[3]
    done = medbench(tmp_path, "data", "prepare", "folder:my-clinic", images, "--duplicates", "drop")
    assert "0 images are dropped" in done.output  # their labels differ


def test_dicom_without_pixels_or_of_several_frames_is_named(tmp_path: Path, clinic: Files) -> None:
    pydicom = pytest.importorskip("pydicom")
    folder = write_tree(tmp_path / "images", clinic)
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.SOPClassUID = pydicom.uid.CTImageStorage
    dataset.SOPInstanceUID = "1.2.3"
    dataset.Rows = dataset.Columns = 28
    dataset.save_as(folder / "healthy" / "p00" / "plan.dcm", enforce_file_format=True)
    dataset.BitsAllocated, dataset.NumberOfFrames = 16, 2
    dataset.PixelData = bytes(28 * 28 * 2)
    dataset.save_as(folder / "healthy" / "p00" / "video.dcm", enforce_file_format=True)
    done = medbench(tmp_path, "data", "prepare", "folder:my-clinic", folder, "--size", 28)
    assert isinstance(done.exception, MedbenchError)
    said = str(done.exception)
    assert "2 of 82 images cannot be read" in said
    assert "plan.dcm (a DICOM file without pixels (CT Image Storage); leave it out)" in said
    assert "video.dcm (a DICOM file of 2 frames; give each its own file)" in said
    assert "\n" not in said
    windows = medbench(tmp_path, "data", "prepare", "folder:x", folder, "--window", 5, 5)
    assert "LOW must be below HIGH" in str(windows.exception)


def test_verify_names_what_is_damaged(tmp_path: Path) -> None:
    whole = embedded_images("pneumonia-mnist").read_bytes()
    (tmp_path / "mine.h5").write_bytes(whole)
    assert medbench(tmp_path, "data", "verify", "mine").exit_code == 0
    damaged = bytearray(whole)
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "mine.h5").write_bytes(damaged)
    done = medbench(tmp_path, "data", "verify", "mine", "pneumonia-mnist", "--json")
    rows = json.loads(done.stdout)
    assert "mine.h5" in rows[0]["fault"]
    assert rows[1]["fault"] == ""
    assert (
        CliRunner()
        .invoke(cli, ["data", "verify", "--cache", str(tmp_path)], standalone_mode=False)
        .return_value
        == 1
    )
    missing = medbench(tmp_path, "data", "verify", "nowhere")
    assert "no file of a dataset 'nowhere'" in str(missing.exception)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("folder", "prepare folder:NAME SOURCE"),
        ("folder:covid-qu-ex", "registered dataset"),
        ("folder:../x", "lower-case letters"),
        ("pneumonia-mnist", "needs no preparation"),
        ("nothing", "no dataset is called 'nothing'"),
    ],
)
def test_names_that_cannot_be_prepared(tmp_path: Path, name: str, reason: str) -> None:
    done = medbench(tmp_path, "data", "prepare", name, tmp_path)
    assert isinstance(done.exception, MedbenchError)
    assert reason in str(done.exception)

"""The commands where there is no cluster: one clear line, and nothing half submitted."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import h5py
import pytest
from commandline import medbench, tiny_protocol

from medbench.cli.on_slurm import dataset_files
from medbench.cluster.node import check_node, copy_datasets
from medbench.cluster.submission import Submission, submissions, versions_here
from medbench.data.hdf5_reading import read_card
from medbench.errors import ClusterError
from medbench.interfaces.dataset import DataContext
from medbench.plugins.kinds import kind_named
from medbench.plugins.registry import discover
from medbench.protocol.read import read_protocol
from medbench.protocol.runs import expand


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A protocol file, on a machine without Slurm and without a user's file."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("MEDBENCH_CONFIG", str(tmp_path / "config.toml"))
    file = tmp_path / "tiny.toml"
    file.write_text(tiny_protocol())
    return file


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--on", "slurm"), "there is no sbatch on this machine"),
        (("--on", "slurm", "--dry-run"), "there is no sbatch on this machine"),
        (("--on", "slurm", "--only-failed"), "use --retry-failed"),
        (("--workers", "3"), "--workers needs --on slurm"),
        (("--on", "slrum"), "no executor is called 'slrum'"),
        (("-o", "partition=gpu"), "partition: unknown key"),
        (("--on", "ray", "-o", "gpu=1"), "gpu: unknown key; did you mean gpus?"),
        (("--on", "ray", "-o", "gpus=-1"), "gpus: "),
    ],
)
def test_what_cannot_be_submitted_is_one_line(
    nowhere: Path, words: tuple[str, ...], says: str
) -> None:
    results = nowhere.with_name("results")
    ended = medbench("run", "--all", "--protocol", nowhere, "--results", results, *words)
    assert ended.status == 2
    assert says in ended.err and ended.err.count("\n") == 1, ended.err
    assert not results.exists()


def test_an_sbatch_without_a_cluster_is_one_line(nowhere: Path) -> None:
    sbatch = nowhere.with_name("sbatch")
    sbatch.write_text("#!/bin/sh\necho 'sbatch: fatal: Could not find a controller' >&2\nexit 1\n")
    sbatch.chmod(0o755)
    results = nowhere.with_name("results")
    ended = medbench("run", "--all", "--protocol", nowhere, "--results", results, "--on", "slurm")
    assert (ended.status, ended.err.count("\n")) == (2, 1)
    assert "sbatch: Could not find a controller; use a login node" in ended.err
    assert not results.exists()


def test_without_ray_there_is_one_line(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    results = nowhere.with_name("results")
    ended = medbench("run", "--all", "--protocol", nowhere, "--results", results, "--on", "ray")
    assert (ended.status, ended.err.count("\n")) == (2, 1)
    assert "pip install 'medbench[ray]'" in ended.err
    assert not results.exists()


def test_nothing_to_stop(nowhere: Path) -> None:
    results = nowhere.with_name("results")
    (results / "cluster").mkdir(parents=True)
    (results / "medbench.json").write_text('{"format": 3, "protocol": "tiny"}')
    ended = medbench("stop", "--results", results)
    assert (ended.status, ended.out) == (0, "")
    assert "Nothing was submitted" in ended.err


# ---------------------------------------------------------------- nodes


@pytest.fixture
def submission(tmp_path: Path) -> Submission:
    """A submission whose cache holds one prepared dataset, and another file."""
    cache, results = tmp_path / "cache", tmp_path / "results"
    cache.mkdir()
    results.mkdir()
    entry = discover().get(kind_named("dataset"), "pneumonia-mnist")
    source = entry.create("pneumonia-mnist", {}).path(DataContext(cache))
    (cache / "images.h5").write_bytes(source.read_bytes())
    (cache / "other").write_text("of a third party's dataset")
    content = {"images": read_card(source).content_hash}
    return Submission(1, 4, str(results), str(cache), versions_here(), content, ("7",))


def test_a_node_like_the_submitting_machine_is_fine(submission: Submission) -> None:
    check_node(submission)


def test_another_node_is_refused(submission: Submission, tmp_path: Path) -> None:
    values = asdict(submission)
    for change, says in (
        ({"versions": {**values["versions"], "torch": "1.0"}}, "has torch .*, the submission 1.0"),
        ({"results": str(tmp_path / "gone")}, "cannot write the results folder"),
        ({"cache": str(tmp_path / "gone")}, "does not see images.h5"),
    ):
        with pytest.raises(ClusterError, match=says):
            check_node(Submission(**{**values, **change}))


def test_the_command_says_what_differs(submission: Submission, tmp_path: Path) -> None:
    file = tmp_path / "results" / "cluster" / "1.json"
    file.parent.mkdir()
    file.write_text(json.dumps(asdict(submission)))
    assert medbench("node", file).status == 0
    values = {**asdict(submission), "versions": {"medbench": "99"}}
    file.write_text(json.dumps(values))
    ended = medbench("node", file)
    assert (ended.status, ended.err.count("\n")) == (2, 1)
    assert "the submission 99" in ended.err
    assert [each.number for each in submissions(tmp_path / "results")] == [1]


def test_files_of_variants_and_of_steps_are_submitted(submission: Submission) -> None:
    """Two variants of a prepared dataset share its file; a step has another one."""
    cache = Path(submission.cache)
    for name in ("busi", "nct-crc-he-100k"):
        (cache / f"{name}.h5").write_bytes((cache / "images.h5").read_bytes())
    text = tiny_protocol(datasets=["first", "second", "pneumonia-mnist"], pretexts=["steps"])
    file = cache / "variants.toml"
    file.write_text(
        text
        + '[datasets.first]\nplugin = "busi"\n[datasets.second]\nplugin = "busi"\n'
        + '[pretexts.steps]\nsteps = [{ plugin = "rotation", dataset = "nct-crc-he-100k" }]\n'
    )
    registry = discover()
    chosen = expand(read_protocol(file), registry, DataContext(cache))
    content = submission.datasets["images"]
    found = dataset_files(chosen, registry, cache)
    assert found == {"busi": content, "nct-crc-he-100k": content}


def test_a_node_copies_a_dataset_once(submission: Submission, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    assert copy_datasets(submission, scratch) == ["images"]
    assert read_card(scratch / "images.h5").content_hash == submission.datasets["images"]
    assert (scratch / "other").read_text() == "of a third party's dataset"
    assert copy_datasets(submission, scratch) == []


def test_a_damaged_copy_is_replaced_and_a_wrong_source_refused(
    submission: Submission, tmp_path: Path
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (scratch / "images.h5").write_bytes(b"half a file")
    assert copy_datasets(submission, scratch) == ["images"]
    other = Submission(**{**asdict(submission), "datasets": {"images": "0" * 64}})
    with pytest.raises(ClusterError, match="not the file that was submitted"):
        copy_datasets(other, scratch)
    with h5py.File(Path(submission.cache) / "images.h5", "r+") as file:
        file["labels"][0] = 1 - file["labels"][0]
    (scratch / "images.h5").unlink()
    with pytest.raises(Exception, match="altered"):
        copy_datasets(submission, scratch)
    assert not list(scratch.glob("*.h5")), "nothing unchecked has the name"
    assert not list(scratch.glob(".*.part"))

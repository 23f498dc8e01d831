"""The whole way: a third party's package and built-ins, from protocol to board."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parent / "medbench" / "cli"))

from commandline import content, install_example, medbench, medbench_apart

from medbench.store.records import Record, read_record
from medbench.store.results import ResultsFolder
from medbench.store.weights import read_weights

ENTRANTS = {
    (pretext, method)
    for pretext in ("none", "hidden-cell", "turned-then-hidden")
    for method in ("cross-entropy", "generalised-cross-entropy")
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the example plugin is installed."""
    return install_example(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def example(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """The protocol that the example plugin ships, run."""
    results = tmp_path_factory.mktemp("example") / "results"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        ended = medbench(
            *("run", "--all", "--protocol", "example", "--results", results),
            *("--jobs", "2", "--device", "cpu"),
        )
        assert ended.status == 0, ended.err
        opened = ResultsFolder.open(results)
        records = {
            tuple(run.axes.values()): read_record(opened.record_path(run.key))
            for run in opened.plan()
        }
        yield SimpleNamespace(results=results, ended=ended, opened=opened, records=records)


def of(example: SimpleNamespace, **axes: object) -> list[Record]:
    records: list[Record] = list(example.records.values())
    return [record for record in records if axes.items() <= record.header.axes.items()]


class Text(HTMLParser):
    """The text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text: list[str] = []
        self.feed(page)

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_every_run_of_the_plugins_protocol_is_done(example: SimpleNamespace) -> None:
    # 2 noise models x 3 pretexts x 2 methods on its dataset, and one run on real images
    assert len(example.records) == 2 * 3 * 2 + 1
    assert "13 runs done now, 0 before, 0 failed, 0 skipped, of 13." in example.ended.err
    assert medbench("verify", "--results", example.results).status == 0


def test_the_entrants_are_on_the_board(example: SimpleNamespace) -> None:
    rows = list(csv.DictReader((example.results / "board" / "leaderboard.csv").open()))
    assert {(row["pretext"], row["method"]) for row in rows} == ENTRANTS
    assert {row["dataset"] for row in rows} == {"example-shapes", "pneumonia-mnist"}
    runs = list(csv.DictReader((example.results / "board" / "runs.csv").open()))
    assert len(runs) == 13
    page = " ".join(Text((example.results / "board" / "index.html").read_text("utf-8")).text)
    words = {word for entrant in ENTRANTS for word in entrant} | {"hurried", "example-shapes"}
    for word in words:
        assert word in page
    assert "hidden-cell" in example.ended.out, "and the table on the terminal"


def test_records_say_which_distribution_each_plugin_is_of(example: SimpleNamespace) -> None:
    theirs = "medbench-example 0.3.1"
    for record in example.records.values():
        axes, plugins = record.header.axes, record.header.metadata["provenance"]["plugins"]
        for kind in ("dataset", "noise", "method"):
            own = axes[kind] in ("example-shapes", "hurried", "generalised-cross-entropy")
            assert plugins[kind].startswith(f"{axes[kind]} (")
            assert (theirs in plugins[kind]) == own
        assert "(medbench 0." in plugins["backbone"]
        if axes["pretext"] == "none":
            assert "pretext" not in plugins
        elif axes["pretext"] == "hidden-cell":
            assert plugins["pretext"] == f"hidden-cell ({theirs})"
        else:
            first, second = plugins["pretext"].split(", then ")
            assert first.startswith("rotation (medbench 0.")
            assert second == f"hidden-cell ({theirs})"
        assert record.header.spec["method"]["distribution"] in theirs or (
            record.header.spec["method"]["distribution"] == "medbench"
        )


def test_a_curriculum_starts_each_step_from_the_one_before(example: SimpleNamespace) -> None:
    (record, *_) = of(example, pretext="turned-then-hidden")
    last = record.header.spec["pretraining"]
    assert last["pretext"]["settings"]["cells"] == 4
    assert last["parent"]["pretext"]["plugin"] == "rotation"
    assert last["parent"]["parent"] is None
    weights = {
        (found.spec["pretext"]["plugin"], found.spec["dataset"]["name"], found.spec["step"]): found
        for path in (example.results / "pretrainings").rglob("*.safetensors")
        for found in [read_weights(path)]
    }
    # the first step, the second, and hidden-cell alone on each of two datasets
    assert set(weights) == {
        ("rotation", "example-shapes", 0),
        ("hidden-cell", "example-shapes", 1),
        ("hidden-cell", "example-shapes", 0),
        ("hidden-cell", "pneumonia-mnist", 0),
    }
    before = weights["rotation", "example-shapes", 0].weights
    after = weights["hidden-cell", "example-shapes", 1].weights
    alone = weights["hidden-cell", "example-shapes", 0].weights
    assert before.keys() == after.keys() == alone.keys()
    largest = max((n for n in after if after[n].dtype.kind == "f"), key=lambda n: after[n].size)
    # Adam moves no weight by much more than its rate at a step: 2 steps of 0.001 from the step
    # before, while each of two pretrainings of their own goes its own way from the start
    assert 0.001 < np.abs(after[largest] - before[largest]).max() < 0.0022
    assert np.abs(after[largest] - alone[largest]).max() > 0.0025
    # the filters kept from before any training are those all three began from
    shapes = [found for (_, dataset, _), found in weights.items() if dataset == "example-shapes"]
    (first,) = shapes[0].initial
    assert all(list(found.initial) == [first] for found in shapes)
    assert all((found.initial[first] == shapes[0].initial[first]).all() for found in shapes)
    assert shapes[0].initial[first].ndim == 4
    assert 0 < np.abs(shapes[0].initial[first] - before[first]).max() < 0.0022


def test_entrants_of_a_block_meet_the_same_images_and_noisy_labels(
    example: SimpleNamespace,
) -> None:
    for noise in ("hurried", "symmetric"):
        block = of(example, dataset="example-shapes", noise=noise)
        assert len(block) == 6
        for name in ("train/ids", "train/noisy_labels", "validation/noisy_labels", "test/ids"):
            assert len({record.arrays[name].tobytes() for record in block}) == 1
    first, second = (
        of(example, dataset="example-shapes", noise=noise)[0].arrays["train/noisy_labels"]
        for noise in ("hurried", "symmetric")
    )
    assert not np.array_equal(first, second)


def test_the_hurried_annotator_writes_the_commonest_class(example: SimpleNamespace) -> None:
    for record in of(example, noise="hurried"):
        clean, noisy = record.arrays["train/clean_labels"], record.arrays["train/noisy_labels"]
        assert set(noisy[clean != noisy]) <= {np.bincount(clean).argmax()}
        assert record.header.summary["noise"]["nominal_rate"] == 0.3
        assert record.header.summary["noise"]["realised_rate"] == (clean != noisy).mean()
        assert "noise/transition_matrix" not in record.arrays, "it has none"


def test_plugins_ask_nothing(example: SimpleNamespace) -> None:
    assert all(record.header.summary["oracle"] == {} for record in example.records.values())


def test_run_again_does_nothing(example: SimpleNamespace) -> None:
    before = content(example.results)
    ended = medbench("run", "--all", "--protocol", "example", "--results", example.results)
    assert ended.status == 0
    assert "Nothing to do: all 13 runs are done." in ended.err
    assert content(example.results) == before


def test_an_installed_package_is_found_and_one_taken_away_is_missed(
    site: Path, example: SimpleNamespace, tmp_path: Path
) -> None:
    """In processes of their own: with the package on PYTHONPATH, without, and blocked."""
    listed = medbench_apart("list", "plugins", "--json", cwd=tmp_path, path=[site])
    theirs = {row["name"]: row for row in listed.json if row["from"] == "medbench-example"}
    assert set(theirs) == {"example-shapes", "hurried", "hidden-cell", "generalised-cross-entropy"}
    assert {row["version"] for row in theirs.values()} == {"0.3.1"}
    assert {row["state"] for row in theirs.values()} == {"ok"}

    run = ("run", "--all", "--protocol", "example", "--results", example.results)
    for without in ({"path": []}, {"path": [site], "MEDBENCH_PLUGINS": "-example"}):
        ended = medbench_apart(*run, cwd=tmp_path, **without)
        assert ended.status == 2
        assert "no protocol is called 'example'" in ended.err
        # what is done can still be read and checked
        assert medbench_apart("verify", "--results", example.results, **without).status == 0


def test_everything_asked_for_takes_third_parties_in(site: Path, tmp_path: Path) -> None:
    """Where a protocol says "*", every registered plugin enters."""
    text = (site / "medbench_example" / "protocols" / "example.toml").read_text()
    head, _, tail = text.partition("[[grid]] # the same on real images")
    head = head.replace('methods = ["cross-entropy", "generalised-cross-entropy"]', 'methods = "*"')
    (tmp_path / "all.toml").write_text(head + tail[tail.index("[images]") :])
    count = {}
    for where, path in (("with", [site]), ("without", [])):
        rows = medbench_apart("list", "methods", "--json", cwd=tmp_path, path=path).json
        count[where] = len(rows)
    ended = medbench_apart(
        *("run", "--protocol", "all.toml", "--dry-run", "--json"), cwd=tmp_path, path=[site]
    )
    assert count["with"] == count["without"] + 1
    assert ended.json["grid"]["method"] == count["with"]


def test_the_example_method_is_the_papers_loss(site: Path) -> None:
    """Zhang & Sabuncu 2018: L_q = (1 - p_y^q) / q, between cross-entropy and 1 - p_y."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        from medbench_example.method import generalised_cross_entropy

        generator = torch.Generator().manual_seed(0)
        logits = torch.randn(50, 5, generator=generator).double().float()
        labels = torch.randint(5, (50,), generator=generator)
        p = logits.double().softmax(1)[torch.arange(50), labels]
        for q in (0.3, 0.7, 1.0):
            expected = ((1 - p**q) / q).mean()
            found = generalised_cross_entropy(logits, labels, q)
            torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)
        near = generalised_cross_entropy(logits, labels, 1e-3)
        torch.testing.assert_close(near, F.cross_entropy(logits, labels), rtol=5e-3, atol=0)


def test_the_example_pretext_hides_one_cell(site: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        from medbench_example.pretext import hide

        images = torch.rand(64, 3, 24, 24, generator=torch.Generator().manual_seed(0))
        hidden, answers = hide(images, 4, torch.Generator().manual_seed(1))
        touched = (hidden != images).all(dim=1)
        assert touched.sum(dim=(1, 2)).tolist() == [36] * 64, "one cell of 6 x 6"
        for image, mask, answer in zip(images, touched, answers, strict=True):
            expected = image[:, mask].mean() - image.mean()
            torch.testing.assert_close(answer, expected, rtol=1e-4, atol=1e-5)
        corners = {tuple(np.argwhere(mask.numpy())[0]) for mask in touched}
        assert len(corners) > 8, "cells are drawn"

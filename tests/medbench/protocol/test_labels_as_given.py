"""Labels as they are, and class profiles, in a protocol: what is refused before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from medbench.data import Columns, ImageBatch, write_images
from medbench.errors import MedbenchError
from medbench.interfaces import DataContext, DatasetCard
from medbench.plugins.registry import discover
from medbench.protocol.read import ProtocolFile, parse_protocol
from medbench.protocol.runs import Expansion, expand

REGISTRY = discover()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Two datasets: ``mine``, of unknown labels, and ``checked``, whose labels are trusted."""
    for name, trusted in (("mine", ()), ("checked", ("train", "validation", "test"))):
        write(tmp_path / f"{name}.h5", trusted)
    return tmp_path


def write(path: Path, trusted: Sequence[str]) -> None:
    card = DatasetCard(
        name="x", title="X", modality="none", class_names=("a", "b"), image_shape=(8, 8, 1),
        split_sizes={}, licence="CC0", citation="nobody", source="a generator",
        trusted=tuple(trusted),
    )  # fmt: skip
    labels = np.array([0] * 20 + [1] * 10 + [0, 1, 0, 1])
    split = [0] * 30 + [1, 1, 2, 2]
    images = np.zeros((34, 8, 8, 1), np.uint8)
    ids = [f"i{n}" for n in range(34)]
    write_images(path, card, [ImageBatch(images)], Columns(labels, split, ids))


def expanded(cache: Path, *more: str, **grid: str) -> Expansion:
    axes = {
        "datasets": '["mine"]', "noise": '["as-given"]', "rates": "[0]", "pretexts": '["none"]',
        "methods": '["cross-entropy"]', "seeds": "[0]", **grid,
    }  # fmt: skip
    names = ("mine", "checked")
    tables = [f'[datasets.{n}]\nplugin = "folder"' for n in names if f'"{n}"' in axes["datasets"]]
    lines = ['name = "p"', "[grid]", *(f"{axis} = {value}" for axis, value in axes.items())]
    text = "\n".join([*lines, *tables, *more])
    file = ProtocolFile(Path("p.toml"), text, parse_protocol(text, "p.toml"))
    return expand(file, REGISTRY, DataContext(cache))


def refused(cache: Path, *more: str, **grid: str) -> str:
    with pytest.raises(MedbenchError) as caught:
        expanded(cache, *more, **grid)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_method_that_asks_nothing_learns_from_labels_as_they_are(cache: Path) -> None:
    (run,) = expanded(cache).runs
    assert (run.axes["noise"], run.rate) == ("as-given", 0)


ASKING = ("co-teaching", "co-teaching-vog", "small-loss", "jocor", "forward", "dividemix")


@pytest.mark.parametrize("method", ASKING)
def test_a_method_that_asks_the_oracle_is_refused_with_the_preset_that_does_not(
    cache: Path, method: str
) -> None:
    message = refused(cache, methods=f'["{method}"]')
    for word in (f"method '{method}'", "noise 'as-given'", "labels of mine", "nobody knows"):
        assert word in message
    fix = f'preset = "no-oracle" in [methods.{method}]'
    assert message.endswith(fix)
    assert expanded(cache, f'[methods.{method}]\npreset = "no-oracle"', methods=f'["{method}"]')


def test_where_training_labels_are_trusted_as_given_is_no_noise(cache: Path) -> None:
    assert expanded(cache, datasets='["checked"]', methods='["co-teaching"]').runs


def test_noise_that_is_added_to_labels_of_unknown_worth_has_a_known_rate(cache: Path) -> None:
    assert expanded(cache, noise='["symmetric"]', rates="[0.2]", methods='["co-teaching"]').runs


def test_as_given_has_no_rate(cache: Path) -> None:
    message = refused(cache, rates="[0.2]")
    for word in ("'as-given'", "'mine'", "not 0.2", "rates = [0]"):
        assert word in message


def test_trust_is_part_of_the_run_key(cache: Path) -> None:
    (first,) = expanded(cache).runs
    write(cache / "mine.h5", ["test"])
    (second,) = expanded(cache).runs
    assert first.key != second.key


def test_any_dataset_takes_a_long_tail(cache: Path) -> None:
    profile = "[images]\nsize = 8\n[datasets.tail]\nplugin = 'busi-mini'\nlong_tail = 10"
    found = expanded(cache, profile, datasets='["tail", "busi-mini"]').runs
    by_name = {run.dataset.name: run for run in found}
    assert by_name["tail"].images.long_tail == 10
    assert by_name["busi-mini"].images.long_tail is None
    assert "long_tail" not in by_name["tail"].dataset.settings
    assert "long_tail" not in by_name["busi-mini"].to_json()["images"]
    (counted,) = expanded(cache, "counts = { a = 7, b = 9 }").runs
    assert counted.images.counts == {"a": 7, "b": 9}
    assert type(counted).from_json(counted.to_json()) == counted


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("long_tail = 0.5", ["long_tail", "greater than or equal to 1"]),
        ("long_tail = 100", ["dataset mine", "leaves class 'b' 0 of its 10", "lower long_tail"]),
        ("counts = { a = 7 }", ["dataset mine", "names the classes a; name each of a, b"]),
        ("counts = { a = 7, b = 11 }", ["takes 11 training images of class 'b', which has 10"]),
        ("counts = { a = 7, b = 1 }", ["counts.b", "greater than or equal to 2"]),
        ("counts = { a = 7, b = 2 }\nlong_tail = 2", ["give one"]),
    ],
)
def test_a_class_profile_that_cannot_be_had_is_refused_before_anything_runs(
    cache: Path, line: str, words: Sequence[str]
) -> None:
    message = refused(cache, line)
    for word in words:
        assert word in message


def test_no_expert_is_asked_for_labels_that_nobody_knows(cache: Path) -> None:
    few = "[refinement]\nrounds = 2\nbudget = 3"
    message = refused(cache, few, methods='["elr"]', acquisitions='["random"]')
    assert "nobody knows the true labels of mine" in message and "'as-given'" in message
    given = {"datasets": '["checked"]', "methods": '["elr"]', "acquisitions": '["random"]'}
    assert len(expanded(cache, few, **given).runs) == 2
    noisy = {**given, "datasets": '["mine"]', "noise": '["symmetric"]', "rates": "[0.2]"}
    assert len(expanded(cache, few, **noisy).runs) == 2, "noise is planted: the labels before count"

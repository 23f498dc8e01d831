"""Curricula: steps on several datasets, and the orders and lengths that a protocol spans."""

from __future__ import annotations

import itertools
import json
from math import perm
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medbench.errors import MedbenchError
from medbench.interfaces import DataContext
from medbench.plugins.registry import discover
from medbench.protocol.curricula import curricula
from medbench.protocol.read import ProtocolFile, parse_protocol
from medbench.protocol.runs import Expansion, expand
from medbench.protocol.spec import PretrainingSpec

REGISTRY = discover()

BASE = """
name = "tiny"
backbone = { name = "narrow", width = 8 }
images = { size = 32, train = 64 }
pretraining = { epochs = 2 }
training = { epochs = 3 }

[grid]
datasets = ["DATASET"]
noise = ["symmetric"]
rates = [0.2]
pretexts = ["none", "xrays"]
methods = ["cross-entropy"]
seeds = [0]

[pretexts.xrays]
"""

THREE = """
orders = "all"
steps = [
    { plugin = "rotation" },
    { plugin = "simclr", dataset = "pneumonia-mnist", name = "children" },
    { plugin = "simclr", name = "adults" },
]
"""


def expansion(table: str, dataset: str = "covid-qu-ex-mini", more: str = "") -> Expansion:
    text = BASE.replace("DATASET", dataset) + table + more
    file = ProtocolFile(Path("tiny.toml"), text, parse_protocol(text, "tiny.toml"))
    return expand(file, REGISTRY, DataContext(Path("/nowhere")))


def chains(found: Expansion) -> dict[str, list[PretrainingSpec]]:
    return {run.pretext: run.steps for run in found.runs}


# ---------------------------------------------------------------- orders and lengths


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_spans_every_order_of_every_length_asked_for(data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from("abcde"), min_size=1, max_size=4, unique=True))
    lengths = data.draw(st.sets(st.integers(1, len(names)), min_size=1))
    orders = data.draw(st.sampled_from(["all", "listed"]))
    steps = [{"plugin": "rotation", "name": name} for name in names]
    weights = {"plugin": "checkpoint", "name": "w"}
    place = data.draw(st.integers(0, len(names)))
    table = {
        "steps": [*steps[:place], weights, *steps[place:]],
        "orders": orders, "lengths": sorted(lengths),
    }  # fmt: skip
    found = curricula("x", table, lambda step: step.called == "w", "here")
    for name, curriculum in found.items():
        first, *rest = (step.called for step in curriculum.steps)
        assert first == "w"
        assert name == "-then-".join(rest)
        assert len(rest) in lengths and len(set(rest)) == len(rest)
        if orders == "listed":
            assert rest == sorted(rest, key=names.index)
    each = [perm(len(names), n) for n in lengths] if orders == "all" else [
        sum(1 for _ in itertools.combinations(names, n)) for n in lengths
    ]  # fmt: skip
    assert len(found) == sum(each)


def test_all_orders_of_three_steps_train_each_prefix_once() -> None:
    found = expansion(THREE)
    names = [run.pretext for run in found.runs]
    orders = itertools.permutations(["rotation", "children", "adults"])
    assert names == ["none", *("-then-".join(order) for order in orders)]
    # 3 first steps, 6 second ones, 6 third ones: not 18
    assert len(found.pretrainings()) == 3 + 6 + 6
    keys = {name: [step.key for step in steps] for name, steps in chains(found).items()}
    for a, b in itertools.combinations(keys, 2):
        for length in range(1, 4):
            same = a.split("-then-")[:length] == b.split("-then-")[:length]
            assert (keys[a][:length] == keys[b][:length] and keys[a] != []) is same


def test_total_epochs_are_those_of_all_steps_together() -> None:
    found = chains(expansion("total_epochs = 12\nlengths = [1, 2, 3]" + THREE))
    assert len(found) == 1 + 3 + 6 + 6
    for name, steps in found.items():
        assert [step.epochs for step in steps] == [12 // max(1, len(steps))] * len(steps), name


# ---------------------------------------------------------------- steps on other datasets


def test_a_step_on_another_dataset_is_the_pretraining_of_that_dataset() -> None:
    table = """steps = [
        { plugin = "simclr", dataset = "pneumonia-mnist" },
        { plugin = "rotation" },
    ]
    [overrides.pneumonia-mnist]
    images = { train = 32, size = 24 }
    pretraining = { batch_size = 16 }
    [overrides.covid-qu-ex-mini]
    images = { size = 24 }
    """
    runs = expansion(table, 'covid-qu-ex-mini", "pneumonia-mnist').runs
    on_adults, on_children = (run.steps for run in runs if run.pretext == "xrays")
    first, second = on_adults
    assert [s.dataset.name for s in (first, second)] == ["pneumonia-mnist", "covid-qu-ex-mini"]
    assert second.parent is first
    assert (first.images.train, second.images.train) == (32, 64)
    assert (first.stage.batch_size, second.stage.batch_size) == (16, 128)
    assert first.images.size == second.images.size == 24
    assert first.key == on_children[0].key
    assert "channels" not in first.to_json()
    assert PretrainingSpec.from_json(json.loads(json.dumps(second.to_json()))) == second


def test_size_and_backbone_are_those_of_the_run() -> None:
    table = """steps = [{ plugin = "simclr", dataset = "pneumonia-mnist" }]
    [overrides.covid-qu-ex-mini]
    images = { size = 24, train = 48 }
    backbone = { width = 16 }
    """
    (step,) = chains(expansion(table))["xrays"]
    assert (step.images.size, step.images.train) == (24, 64)
    assert step.backbone.settings["width"] == 16


@pytest.mark.parametrize(
    ("target", "step", "channels"),
    [
        ("kather-texture-mini", 'dataset = "pneumonia-mnist", grey_to_colour = "repeat"', 3),
        ("pneumonia-mnist", 'dataset = "kather-texture-mini"', 1),
        ("covid-qu-ex-mini", 'dataset = "pneumonia-mnist", grey_to_colour = "repeat"', None),
    ],
)
def test_channels_are_those_of_the_run(target: str, step: str, channels: int | None) -> None:
    found = chains(expansion(f'steps = [{{ plugin = "rotation", {step} }}]', target))["xrays"]
    assert found[0].channels == channels
    assert found[0].to_json().get("channels") == channels


def test_one_pretext_may_be_on_another_dataset() -> None:
    table = 'plugin = "rotation"\ndataset = "pneumonia-mnist"'
    (step,) = chains(expansion(table))["xrays"]
    assert (step.pretext.name, step.dataset.name) == ("xrays", "pneumonia-mnist")


def test_a_step_on_a_dataset_that_is_not_prepared_prevents_the_run() -> None:
    found = expansion('steps = [{ plugin = "rotation", dataset = "covid-qu-ex" }]')
    assert list(found.not_prepared) == ["covid-qu-ex"]
    assert "medbench data prepare covid-qu-ex" in found.not_prepared["covid-qu-ex"]


# ---------------------------------------------------------------- mistakes

TWO = 'steps = [{ plugin = "rotation" }, { plugin = "jigsaw" }]'
REFUSED: dict[str, tuple[str, str]] = {
    "no such dataset": (
        'steps = [{ plugin = "rotation", dataset = "pneumonia" }]',
        "[pretexts.xrays]: no dataset is called 'pneumonia'",
    ),
    "no plugin": ('steps = [{ name = "x" }]', "[pretexts.xrays]: step 1 names no pretext"),
    "a key of a step": (
        'steps = [{ plugin = "rotation", datasets = "x" }]',
        "[pretexts.xrays]: datasets: unknown key",
    ),
    "a way to colour": (
        'steps = [{ plugin = "rotation", grey_to_colour = "map" }]',
        "step 1: grey_to_colour: Input should be 'repeat' (found 'map')",
    ),
    "too long": (f"lengths = [3]\n{TWO}", "lengths: from 1 to 2, its steps that train"),
    "no length": (f"lengths = []\n{TWO}", "lengths: Input should be a list of at least one"),
    "an order": (f'orders = "some"\n{TWO}', "orders: Input should be 'listed' or 'all'"),
    "epochs": (f"total_epochs = 5\n{TWO}", "total_epochs: 5 cannot be divided by 2 steps"),
    "epochs twice": (
        'total_epochs = 4\nsteps = [{ plugin = "rotation", pretraining.epochs = 4 }]',
        "total_epochs and a step's epochs exclude each other",
    ),
    "the same name": (
        'orders = "all"\nsteps = [{ plugin = "rotation" }, { plugin = "rotation" }]',
        "two curricula are called 'rotation-then-rotation'; give steps a name",
    ),
    "another's name": (
        'lengths = [1]\nsteps = [{ plugin = "rotation", name = "none" }]',
        "one of its curricula is called 'none', as another pretext",
    ),
    "weights later": (
        'steps = [{ plugin = "rotation" }, { plugin = "checkpoint", file = "FILE" }]',
        "step 2 loads weights in the place of those that the steps before it trained",
    ),
    "a name without steps": ('plugin = "rotation"\nname = "x"', "only a step of a curriculum"),
}


@pytest.mark.parametrize("mistake", REFUSED)
def test_a_mistake_is_told_in_one_line(mistake: str, tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_bytes(b"x")
    table, words = REFUSED[mistake]
    with pytest.raises(MedbenchError) as caught:
        expansion(table.replace("FILE", str(tmp_path / "weights.pt")))
    assert words in str(caught.value)
    assert "tiny.toml" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_grey_does_not_become_colour_unasked() -> None:
    with pytest.raises(MedbenchError) as caught:
        expansion(
            'steps = [{ plugin = "rotation", dataset = "pneumonia-mnist" }]', "kather-texture-mini"
        )
    assert str(caught.value) == (
        "tiny.toml: [pretexts.xrays]: pneumonia-mnist is grey and kather-texture-mini is in "
        'colour; say how the one becomes the other: grey_to_colour = "repeat" in the step on it'
    )


def test_settings_of_a_dataset_of_no_step_belong_to_nothing() -> None:
    more: dict[str, Any] = {"more": "\n[overrides.busi-mini.images]\nsize = 16"}
    with pytest.raises(MedbenchError, match=r"belongs to nothing in grid\.datasets"):
        expansion(TWO, **more)

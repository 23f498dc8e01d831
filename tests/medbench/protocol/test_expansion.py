"""From a protocol to its runs: the grid, the keys, and what decides them."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medbench.errors import ProtocolError
from medbench.interfaces import DataContext
from medbench.plugins.kinds import kind_named
from medbench.plugins.registry import discover
from medbench.protocol.read import ProtocolFile, parse_protocol
from medbench.protocol.runs import Expansion, expand
from medbench.protocol.spec import AXES, RunSpec

REGISTRY = discover()

BASE = """
name = "tiny"
description = "Tiny"
root_seed = 3

[grid]
datasets = ["covid-qu-ex-mini", "pneumonia-mnist"]
noise = ["symmetric", "pair-flip"]
rates = [0.2, 0.4]
pretexts = ["none", "rotation", "jigsaw"]
methods = ["cross-entropy", "co-teaching"]
seeds = [0, 1]

[images]
size = 32
train = 64

[backbone]
name = "narrow"
width = 8

[pretraining]
epochs = 2

[training]
epochs = 3

[evaluation]
last_epochs = 5

[statistics]
alpha = 0.05
"""


def expansion(text: str = BASE, **filters: list[Any]) -> Expansion:
    file = ProtocolFile(Path("tiny.toml"), text, parse_protocol(text, "tiny.toml"))
    return expand(file, REGISTRY, DataContext(Path("/nowhere")), filters)


def by_axes(found: Expansion) -> dict[tuple[Any, ...], RunSpec]:
    return {tuple(run.axes[axis] for axis in AXES): run for run in found.runs}


def keys(text: str) -> dict[tuple[Any, ...], str]:
    return {axes: run.key for axes, run in by_axes(expansion(text)).items()}


def one(text: str, **filters: list[Any]) -> RunSpec:
    (run,) = expansion(text, **filters).runs
    return run


def recomputed(spec: Any) -> str:
    text = json.dumps(
        spec, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


POINT = {
    "dataset": ["covid-qu-ex-mini"],
    "noise": ["symmetric"],
    "rate": [0.2],
    "pretext": ["rotation"],
    "method": ["co-teaching"],
    "seed": [1],
}


WHOLE = expansion()


# ---------------------------------------------------------------- the grid


def test_the_runs_are_the_product_in_the_order_of_the_axes() -> None:
    expected = list(
        itertools.product(
            ["covid-qu-ex-mini", "pneumonia-mnist"],
            ["symmetric", "pair-flip"],
            [0.2, 0.4],
            ["none", "rotation", "jigsaw"],
            ["cross-entropy", "co-teaching"],
            [0, 1],
        )
    )
    found = expansion()
    assert [tuple(run.axes.values()) for run in found.runs] == expected
    assert all(tuple(run.axes) == AXES for run in found.runs)
    assert len({run.key for run in found.runs}) == len(expected)


def test_several_grids_are_united_and_a_run_in_both_is_one() -> None:
    grid = BASE[BASE.index("[grid]") : BASE.index("[images]")]
    second = grid.replace("seeds = [0, 1]", "seeds = [1, 2]").replace("[grid]", "[[grid]]")
    first = BASE.replace("[grid]", "[[grid]]")
    found = by_axes(expansion(first.replace("[images]", second + "[images]")))
    single = keys(BASE)
    assert {axes[-1] for axes in found} == {0, 1, 2}
    assert len(found) == len(single) * 3 // 2
    assert all(found[axes].key == key for axes, key in single.items())


def test_a_star_enters_every_plugin_of_the_kind() -> None:
    text = BASE.replace('["none", "rotation", "jigsaw"]', '"*"')
    found = {run.axes["pretext"] for run in expansion(text).runs}
    assert found == {entry.name for entry in REGISTRY.of_kind(kind_named("pretext"))}


def test_a_star_and_the_same_names_give_the_same_keys() -> None:
    every = json.dumps([entry.name for entry in REGISTRY.of_kind(kind_named("method"))])
    listed = BASE.replace('["cross-entropy", "co-teaching"]', every)
    assert keys(BASE.replace('["cross-entropy", "co-teaching"]', '"*"')) == keys(listed)


def test_a_label_says_what_a_run_is() -> None:
    assert (
        one(BASE, **POINT).label == "covid-qu-ex-mini symmetric 0.2 rotation + co-teaching seed 1"
    )


# ---------------------------------------------------------------- filters


@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_filters_keep_what_they_name_and_change_no_key(data: st.DataObject) -> None:
    whole = by_axes(WHOLE)
    filters = {
        axis: data.draw(st.lists(st.sampled_from(sorted({a[i] for a in whole})), unique=True))
        for i, axis in enumerate(AXES)
    }
    found = by_axes(expansion(**filters))
    expected = {
        axes: run.key
        for axes, run in whole.items()
        if all(not filters[a] or value in filters[a] for a, value in zip(AXES, axes, strict=True))
    }
    assert {axes: run.key for axes, run in found.items()} == expected
    assert list(found) == [axes for axes in whole if axes in expected]


@pytest.mark.parametrize(
    ("axis", "value", "message"),
    [
        ("rate", 0.3, "the protocol has no rate 0.3; it has 0.2, 0.4"),
        ("seed", 7, "the protocol has no seed 7; it has 0, 1"),
        ("method", "dividemix", "no method 'dividemix'; it has cross-entropy, co-teaching"),
        ("dataset", "x", "no dataset 'x'; it has covid-qu-ex-mini, pneumonia-mnist"),
    ],
)
def test_a_filter_outside_the_protocol_is_refused(axis: str, value: Any, message: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        expansion(**{axis: [value]})
    assert message in str(caught.value)


# ---------------------------------------------------------------- keys


def test_keys_are_the_hash_of_the_spec() -> None:
    for run in WHOLE.runs:
        assert run.key == recomputed(run.to_json())
        assert json.loads(json.dumps(run.to_json())) == run.to_json()  # plain JSON, nothing else
    for key, pretraining in WHOLE.pretrainings().items():
        assert key == pretraining.key == recomputed(pretraining.to_json())


def test_a_spec_holds_the_settings_in_full() -> None:
    spec = one(BASE, **POINT).to_json()
    assert spec["rate"] == 0.2 and spec["seed"] == 1 and spec["root_seed"] == 3
    assert spec["dataset"]["name"] == "covid-qu-ex-mini"
    assert len(spec["dataset"]["content_hash"]) == 64
    assert spec["backbone"]["settings"]["width"] == 8
    assert spec["images"] == {
        "size": 32, "train": 64, "validation": None, "test": None, "normalise": "dataset"
    }  # fmt: skip
    assert spec["training"]["epochs"] == 3
    assert spec["training"]["optimiser"]["momentum"] == 0.9  # a default, written out
    assert spec["method"]["settings"]["exponent"] == 1.0
    assert spec["pretraining"]["stage"]["epochs"] == 2
    for kind in ("method", "noise", "backbone", "dataset"):
        assert spec[kind]["distribution"] == "medbench"
        assert isinstance(spec[kind]["revision"], int)


DECIDING = {
    "root seed": ("root_seed = 3", "root_seed = 4"),
    "image size": ("size = 32", "size = 40"),
    "training images": ("train = 64", "train = 65"),
    "validation images": ("train = 64", "train = 64\nvalidation = 9"),
    "normalisation": ("train = 64", "train = 64\nnormalise = 'half'"),
    "backbone": ("width = 8", "width = 9"),
    "pretraining epochs": ("epochs = 2", "epochs = 4"),
    "pretraining rate": ("epochs = 2", "epochs = 2\n[pretraining.optimiser]\nlr = 0.5"),
    "training epochs": ("epochs = 3", "epochs = 4"),
    "training rate": ("epochs = 3", "epochs = 3\n[training.optimiser]\nlr = 0.5"),
    "augmentation": ("epochs = 3", "epochs = 3\n[training.augmentation]\nsharpness = 0.25"),
    "precision": ("[evaluation]", "[compute]\nprecision = 'bfloat16'\n[evaluation]"),
    "threads": ("[evaluation]", "[compute]\nthreads = 2\n[evaluation]"),
    "layout": ("[evaluation]", "[compute]\nchannels_last = true\n[evaluation]"),
    "reading": ("last_epochs = 5", "last_epochs = 4"),
    "primary": ("last_epochs = 5", "last_epochs = 5\nprimary = 'mcc'"),
    "method's setting": ("[evaluation]", "[methods.co-teaching]\nexponent = 2\n[evaluation]"),
    "pretext stage": ("[evaluation]", "[pretexts.rotation]\npretraining.epochs = 9\n[evaluation]"),
    "override": ("[evaluation]", "[overrides.covid-qu-ex-mini]\nimages.size = 40\n[evaluation]"),
}  # fmt: skip

IDLE = {
    "name": ('name = "tiny"', 'name = "other"'),
    "description": ('description = "Tiny"', 'description = "Huge"'),
    "statistics": ("alpha = 0.05", "alpha = 0.01\nreading = 'best'\nbaseline_pretext = 'none'"),
    "a comment": ("[images]", "# nothing\n[images]"),
    "more seeds": ("seeds = [0, 1]", "seeds = [5, 1, 0]"),
    "other rates": ("rates = [0.2, 0.4]", "rates = [0.9, 0.2]"),
    "order of methods": ('["cross-entropy", "co-teaching"]', '["co-teaching", "cross-entropy"]'),
    "fewer datasets": ('["covid-qu-ex-mini", "pneumonia-mnist"]', '["covid-qu-ex-mini"]'),
    "another's stage": ("[evaluation]", "[pretexts.jigsaw]\npretraining.epochs = 9\n[evaluation]"),
    "other size": ("[evaluation]", "[overrides.pneumonia-mnist]\nimages.size = 9\n[evaluation]"),
    "a default written out": ("train = 64", "train = 64\nnormalise = 'dataset'"),
    "a whole number": ("[evaluation]", "[methods.co-teaching]\nexponent = 1\n[evaluation]"),
}  # fmt: skip


@pytest.mark.parametrize("change", DECIDING)
def test_what_decides_the_outcome_changes_the_key(change: str) -> None:
    old, new = DECIDING[change]
    assert BASE.count(old) == 1
    assert one(BASE.replace(old, new), **POINT).key != one(BASE, **POINT).key


@pytest.mark.parametrize("change", IDLE)
def test_what_decides_nothing_changes_no_key(change: str) -> None:
    old, new = IDLE[change]
    assert BASE.count(old) == 1
    assert one(BASE.replace(old, new), **POINT).key == one(BASE, **POINT).key


def test_each_axis_changes_the_key() -> None:
    base = {axis: values[0] for axis, values in POINT.items()}
    other = {
        "dataset": "pneumonia-mnist", "noise": "pair-flip", "rate": 0.4,
        "pretext": "none", "method": "cross-entropy", "seed": 0,
    }  # fmt: skip
    runs = {tuple(run.axes.values()): run.key for run in WHOLE.runs}
    for axis in AXES:
        changed = {**base, axis: other[axis]}
        assert runs[tuple(changed.values())] != runs[tuple(base.values())]


def test_a_plugins_revision_changes_the_key_of_its_runs_alone() -> None:
    registry = discover()
    place = ("methods", "co-teaching")
    entry = registry.entries[place]
    plugin = dataclasses.replace(entry.plugin, revision=entry.plugin.revision + 1)
    registry.entries[place] = dataclasses.replace(entry, plugin=plugin)
    file = ProtocolFile(Path("tiny.toml"), BASE, parse_protocol(BASE, "tiny.toml"))
    raised = by_axes(expand(file, registry, DataContext(Path("/nowhere"))))
    for axes, run in by_axes(WHOLE).items():
        assert (raised[axes].key != run.key) == (run.axes["method"] == "co-teaching")


# ---------------------------------------------------------------- pretraining is shared


def test_runs_that_differ_in_noise_rate_or_method_share_their_pretraining() -> None:
    found: dict[tuple[Any, ...], set[str]] = {}
    for run in WHOLE.runs:
        if run.axes["pretext"] == "none":
            assert run.pretraining is None and run.to_json()["pretraining"] is None
            continue
        assert run.pretraining is not None
        assert run.to_json()["pretraining"] == run.pretraining.to_json()
        place = (run.axes["dataset"], run.axes["pretext"], run.axes["seed"])
        found.setdefault(place, set()).add(run.pretraining.key)
    assert len(found) == 2 * 2 * 2
    assert all(len(shared) == 1 for shared in found.values())
    assert len(set.union(*found.values())) == len(found)
    assert set(WHOLE.pretrainings()) == set.union(*found.values())


@pytest.mark.parametrize(
    ("change", "shared"),
    [
        ("training epochs", True),
        ("augmentation", True),
        ("method's setting", True),
        ("reading", True),
        ("root seed", False),
        ("image size", False),
        ("backbone", False),
        ("precision", False),
        ("pretraining rate", False),
        ("pretext stage", False),
    ],
)
def test_a_pretraining_depends_on_its_own_stage_alone(change: str, shared: bool) -> None:
    old, new = DECIDING[change]
    before, after = (one(text, **POINT).pretraining for text in (BASE, BASE.replace(old, new)))
    assert before and after
    assert (before.key == after.key) is shared


# ---------------------------------------------------------------- variants, presets, overrides


def test_a_variant_is_an_entrant_of_its_own() -> None:
    text = BASE.replace('"co-teaching"]', '"co-teaching", "patient"]') + (
        "[methods.patient]\nplugin = 'co-teaching'\nwarmup_epochs = 7\n"
    )
    plain = one(text, **POINT).to_json()["method"]
    patient = one(text, **{**POINT, "method": ["patient"]}).to_json()["method"]
    assert (patient["name"], patient["plugin"]) == ("patient", "co-teaching")
    assert patient["settings"] == {**plain["settings"], "warmup_epochs": 7}
    assert one(text, **POINT).key == one(BASE, **POINT).key


def test_a_preset_is_a_start_that_keys_next_to_it_change() -> None:
    presets = REGISTRY.get(kind_named("method"), "co-teaching").load_settings().presets
    name, preset = next(iter(presets.items()))
    text = BASE + f"[methods.co-teaching]\npreset = '{name}'\n"
    settings_ = one(text, **POINT).to_json()["method"]["settings"]
    for key, value in preset.items():
        if isinstance(value, dict):
            assert {k: settings_[key][k] for k in value} == value
        else:
            assert settings_[key] == value
    changed = one(text + "exponent = 3.0\n", **POINT).to_json()["method"]["settings"]
    assert changed == {**settings_, "exponent": 3.0}


def test_a_preset_is_no_more_than_its_values() -> None:
    presets = REGISTRY.get(kind_named("method"), "co-teaching").load_settings().presets
    name, preset = next(iter(presets.items()))
    model = REGISTRY.get(kind_named("method"), "co-teaching").load_settings()
    by_preset = one(BASE + f"[methods.co-teaching]\npreset = '{name}'\n", **POINT)
    assert by_preset.to_json()["method"]["settings"] == model(**preset).model_dump(mode="json")


MOMENTUM = BASE + "[training.optimiser]\nmomentum = 0.5\n[pretraining.optimiser]\nname = 'sgd'\n"


def test_an_override_reaches_its_dataset_and_no_other() -> None:
    text = MOMENTUM + (
        "[overrides.pneumonia-mnist.images]\nsize = 48\n"
        "[overrides.pneumonia-mnist.training.optimiser]\nlr = 0.25\n"
        "[overrides.pneumonia-mnist.pretraining]\nepochs = 6\n"
        "[overrides.pneumonia-mnist.backbone]\nwidth = 9\n"
    )
    assert one(text, **POINT).key == one(MOMENTUM, **POINT).key
    elsewhere = {**POINT, "dataset": ["pneumonia-mnist"]}
    before, after = one(MOMENTUM, **elsewhere).to_json(), one(text, **elsewhere).to_json()
    assert before["training"]["optimiser"]["momentum"] == 0.5
    assert after["images"] == {**before["images"], "size": 48}
    assert after["training"] == {
        **before["training"],
        "optimiser": {**before["training"]["optimiser"], "lr": 0.25},
    }
    assert after["pretraining"]["stage"] == {**before["pretraining"]["stage"], "epochs": 6}
    assert after["pretraining"]["images"]["size"] == 48
    for spec in (after, after["pretraining"]):
        assert spec["backbone"]["settings"] == {**before["backbone"]["settings"], "width": 9}


def test_another_backbone_for_a_dataset_takes_none_of_the_settings() -> None:
    text = BASE + "[overrides.pneumonia-mnist.backbone]\nname = 'resnet18'\n"
    spec = one(text, **{**POINT, "dataset": ["pneumonia-mnist"]}).to_json()
    assert spec["backbone"]["name"] == "resnet18"
    assert "width" not in spec["backbone"]["settings"]


def test_a_rate_alone_does_not_change_pretrainings_optimiser() -> None:
    old, new = DECIDING["pretraining rate"]
    before, after = (
        one(text, **POINT).to_json()["pretraining"]["stage"]["optimiser"]
        for text in (BASE, BASE.replace(old, new))
    )
    assert before["name"] == "adam"
    assert after == {**before, "lr": 0.5}


def test_pretraining_may_differ_for_one_pretext() -> None:
    text = MOMENTUM + (
        "[pretexts.rotation.pretraining]\nepochs = 9\n"
        "[pretexts.rotation.pretraining.optimiser]\nlr = 0.125\n"
    )
    before, after = (
        one(each, **POINT).to_json()["pretraining"]["stage"] for each in (MOMENTUM, text)
    )
    assert before["optimiser"]["name"] == "sgd"
    assert after == {**before, "epochs": 9, "optimiser": {**before["optimiser"], "lr": 0.125}}
    jigsaw = {**POINT, "pretext": ["jigsaw"]}
    assert one(text, **jigsaw).key == one(MOMENTUM, **jigsaw).key


# ---------------------------------------------------------------- curricula

CURRICULUM = (
    BASE.replace('"jigsaw"]', '"jigsaw", "both"]')
    + """
[pretexts.both]
steps = [
    { plugin = "rotation" },
    { plugin = "jigsaw", permutations = 6, pretraining = { epochs = 5 } },
    { plugin = "simclr" },
]
"""
)


def test_a_curriculum_is_a_chain_from_step_to_step() -> None:
    last = one(CURRICULUM, **{**POINT, "pretext": ["both"]}).pretraining
    assert last is not None
    chain = last.steps
    assert [step.pretext.plugin for step in chain] == [
        "rotation",
        "jigsaw",
        "simclr",
    ]
    assert [step.step for step in chain] == [0, 1, 2]
    assert [step.epochs for step in chain] == [2, 5, 2]
    assert chain[1].to_json()["pretext"]["settings"]["permutations"] == 6
    assert chain[0].parent is None and chain[0].to_json()["parent"] is None
    for before, after in itertools.pairwise(chain):
        assert after.parent is before
        assert after.to_json()["parent"] == before.to_json()
    assert all(step.key == recomputed(step.to_json()) for step in chain)


def test_steps_come_before_those_that_start_from_them() -> None:
    order = list(expansion(CURRICULUM).pretrainings().values())
    place = {step.key: index for index, step in enumerate(order)}
    chained = [step for step in order if step.parent]
    assert len(chained) == 2 * 2 * 2  # two steps with a parent, 2 datasets, 2 seeds
    assert all(place[step.parent.key] < place[step.key] for step in chained if step.parent)


def test_a_curriculums_first_step_is_the_plain_pretexts_own_pretraining() -> None:
    plain = one(CURRICULUM, **POINT).pretraining
    last = one(CURRICULUM, **{**POINT, "pretext": ["both"]}).pretraining
    assert plain and last
    assert last.steps[0].key == plain.key


def test_a_change_of_an_early_step_changes_all_that_follow() -> None:
    changed = CURRICULUM.replace("permutations = 6", "permutations = 7")
    filters = {**POINT, "pretext": ["both"]}
    before, after = (one(text, **filters) for text in (CURRICULUM, changed))
    assert before.key != after.key
    assert before.pretraining and after.pretraining
    same = [
        a.key == b.key
        for a, b in zip(before.pretraining.steps, after.pretraining.steps, strict=True)
    ]
    assert same == [True, False, False]


# ---------------------------------------------------------------- what cannot be learned


def test_blocks_that_cannot_be_learned_are_named() -> None:
    # exclusive symmetric noise: two classes up to .5, three up to 2/3; pair flips up to .5
    text = BASE.replace("rates = [0.2, 0.4]", "rates = [0.4, 0.6, 0.7]")
    three, two = "covid-qu-ex-mini", "pneumonia-mnist"
    assert set(expansion(text).unlearnable) == {
        (three, "symmetric", 0.7),
        (three, "pair-flip", 0.6),
        (three, "pair-flip", 0.7),
        (two, "symmetric", 0.6),
        (two, "symmetric", 0.7),
        (two, "pair-flip", 0.6),
        (two, "pair-flip", 0.7),
    }
    assert expansion(BASE).unlearnable == ()

"""Specs: keys by hand, and the way to JSON and back."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from medbench.interfaces.executor import Job
from medbench.interfaces.options import (
    ComputeOptions,
    EvaluationOptions,
    ImageOptions,
    PretrainingOptions,
    TrainingOptions,
)
from medbench.protocol.spec import DatasetSpec, PluginSpec, PretrainingSpec, RunSpec

BACKBONE = PluginSpec("medbench", "narrow", "narrow", 1, {"width": 8})
DATASET = DatasetSpec("medbench", "chest", "folder", 2, {"path": "ä"}, "ab" * 32)
FIRST = PretrainingSpec(
    dataset=DATASET,
    backbone=BACKBONE,
    pretext=PluginSpec("medbench", "rotation", "rotation", 1, {}),
    stage=PretrainingOptions(epochs=2),
    images=ImageOptions(size=16),
    compute=ComputeOptions(),
    seed=1,
    root_seed=0,
    step=0,
    parent=None,
    engine=2,
    interface=1,
)
SECOND = replace(FIRST, step=1, parent=FIRST)
RUN = RunSpec(
    dataset=DATASET,
    noise=PluginSpec("medbench", "symmetric", "symmetric", 1, {}),
    rate=0.25,
    pretext="rotation",
    method=PluginSpec("other", "mine", "their-method", "a", {"x": [1, 2.0, None, True]}),
    seed=1,
    pretraining=SECOND,
    backbone=BACKBONE,
    images=ImageOptions(size=16),
    training=TrainingOptions(epochs=3),
    compute=ComputeOptions(),
    evaluation=EvaluationOptions(),
    root_seed=0,
    engine=2,
    interface=1,
)


def test_golden_keys() -> None:
    """A changed key makes every stored result one of another run: raise a revision instead."""
    assert RUN.key == "459fea709f52fb3d7f26decc913c29c5a6fdc618400f719f68d3592854449732"
    assert FIRST.key == "c07d38fde30ed39bc4feaf2761d0c8d8fd0cc6f16379fcc7e6a0f7ec1e9c8fa8"


@pytest.mark.parametrize("spec", [RUN, FIRST, SECOND])
def test_the_key_is_the_hash_of_the_canonical_json(spec: RunSpec | PretrainingSpec) -> None:
    text = json.dumps(spec.to_json(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert spec.key == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("spec", [RUN, FIRST, SECOND])
def test_a_job_survives_json(spec: RunSpec | PretrainingSpec) -> None:
    job = Job(spec, Path("/r"), Path("/c"), "cpu", timeout=1.5, attempt=3)
    again = Job.from_json(json.loads(json.dumps(job.to_json())))
    assert again == job
    assert again.key == spec.key
    assert isinstance(again.spec, type(spec))


def test_every_part_decides_the_key() -> None:
    changed = [
        replace(RUN, rate=0.5),
        replace(RUN, seed=2),
        replace(RUN, pretraining=FIRST),
        replace(RUN, method=replace(RUN.method, settings={})),
        replace(RUN, dataset=replace(DATASET, content_hash=None)),
        replace(RUN, training=RUN.training.model_copy(update={"epochs": 4})),
        replace(RUN, evaluation=RUN.evaluation.model_copy(update={"batch_size": 4})),
        replace(RUN, engine=3),
    ]
    assert len({RUN.key, *(run.key for run in changed)}) == 1 + len(changed)


def test_a_key_does_not_depend_on_the_specs_before_it() -> None:
    # zeros are equal and written otherwise: what is kept must not take one for the other
    for rate in (0.0, -0.0):
        run = replace(RUN, rate=rate)
        canonical = json.dumps(
            run.to_json(), sort_keys=True, separators=(",", ":"), ensure_ascii=False
        )
        assert f'"rate":{rate},' in canonical
        assert run.key == hashlib.sha256(canonical.encode()).hexdigest()


def test_axes_labels_steps_and_plugins() -> None:
    assert list(RUN.axes.items()) == [
        ("dataset", "chest"),
        ("noise", "symmetric"),
        ("rate", 0.25),
        ("pretext", "rotation"),
        ("method", "mine"),
        ("seed", 1),
    ]
    assert RUN.label == "chest symmetric 0.25 rotation + mine seed 1"
    assert SECOND.axes == {"dataset": "chest", "pretext": "rotation", "seed": 1}
    assert RUN.steps == [FIRST, SECOND]
    assert (RUN.start, SECOND.start, FIRST.start) == (SECOND, FIRST, None)
    assert (RUN.epochs, FIRST.epochs) == (3, 2)
    kinds = ["dataset", "noise", "backbone", "method", "pretext", "pretext"]
    assert [kind for kind, _ in RUN.plugins()] == kinds


def test_values_of_no_spec_are_refused() -> None:
    for values in ({}, {**RUN.to_json(), "more": 1}, {**RUN.to_json(), "images": {"size": -1}}):
        with pytest.raises((TypeError, ValueError)):
            RunSpec.from_json(values)

"""What every built-in method must do."""

from __future__ import annotations

import importlib
import math
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest
import torch
from tiny_task import (
    CPU,
    STATES,
    TinyHarness,
    assert_same,
    clean_labels,
    frozen_state,
    learned,
    make_task,
    predict,
    questions,
    restore,
    started,
)

from medbench.interfaces.method import EpochReport, LearningTask, LNLMethod
from medbench_plugins.methods import METHODS


def load(target: str) -> type[LNLMethod]:
    module, _, name = target.partition(":")
    cls: type[LNLMethod] = getattr(importlib.import_module(module), name)
    return cls


CLASSES = {plugin.name: load(plugin.target) for plugin in METHODS}
EVERY = pytest.mark.parametrize("method_class", CLASSES.values(), ids=CLASSES.keys())


def run(method: LNLMethod, epochs: range, *, look: bool = True) -> list[EpochReport]:
    reports = []
    for epoch in epochs:
        reports.append(method.train_epoch(epoch))
        if look:
            predict(method, torch.rand((5, 1, 8, 8), generator=torch.Generator().manual_seed(0)))
    return reports


def test_the_built_in_methods() -> None:
    assert list(CLASSES) == [
        "cross-entropy", "cross-entropy-ensemble", "co-teaching", "co-teaching-vog", "small-loss",
        "dividemix", "gce", "sce", "elr", "jocor", "forward", "volminnet", "confident-learning",
        "disc", "agreement",
    ]  # fmt: skip
    assert all(plugin.interface == 1 and plugin.summary for plugin in METHODS)


@EVERY
def test_presets_are_valid_settings(method_class: type[LNLMethod]) -> None:
    presets = method_class.Settings.presets
    assert "paper" in presets
    for values in presets.values():
        assert method_class.Settings(**values).optimiser is not None


@EVERY
def test_every_setting_is_described(method_class: type[LNLMethod]) -> None:
    for name, field in method_class.Settings.model_fields.items():
        assert field.description, name


@EVERY
def test_reports_and_predictions_have_their_shapes(method_class: type[LNLMethod]) -> None:
    task = make_task(samples=61, num_classes=4, epochs=3)
    method = started(method_class, task)
    for report in run(method, range(3)):
        assert isinstance(report.loss, float) and math.isfinite(report.loss)
        if report.selected is not None:
            networks = 1 if hasattr(method, "network") else 2
            assert report.selected.dtype == np.bool_ and report.selected.shape == (networks, 61)
        if report.clean_probability is not None:
            w = report.clean_probability
            assert w.dtype == np.float32 and w.shape == (61,)
            assert (w >= 0).all() and (w <= 1).all()
        if report.corrected is not None:
            c = report.corrected
            assert c.dtype == np.int64 and c.shape == (61,)
            assert (c >= 0).all() and (c < 4).all()
    p = predict(method, task.train.images[:7])  # type: ignore[attr-defined]
    assert p.shape == (7, 4) and p.dtype == torch.float32
    torch.testing.assert_close(p.sum(1), torch.ones(7))


@EVERY
def test_same_task_same_bits_and_no_global_generator_is_touched(
    method_class: type[LNLMethod],
) -> None:
    first = started(method_class, make_task())
    one = run(first, range(4))
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002 - the global generator is what must not matter
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    second = started(method_class, make_task())
    two = run(second, range(4))
    after = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    assert torch.equal(before[0], after[0]) and before[1] == after[1]
    assert_same(one, two)
    assert_same(frozen_state(first), frozen_state(second))


@EVERY
def test_predicting_in_between_changes_nothing(method_class: type[LNLMethod]) -> None:
    watched, unwatched = (started(method_class, make_task()) for _ in range(2))
    assert_same(run(watched, range(4), look=True), run(unwatched, range(4), look=False))
    assert_same(learned(frozen_state(watched)), learned(frozen_state(unwatched)))


@EVERY
@pytest.mark.parametrize("done", [0, 1, 2, 4])
def test_taken_up_again_after_any_epoch(method_class: type[LNLMethod], done: int) -> None:
    whole = started(method_class, make_task())
    run(whole, range(done))
    state = frozen_state(whole)
    rest = started(method_class, make_task())
    restore(rest, state)
    assert_same(run(whole, range(done, done + 2)), run(rest, range(done, done + 2)))
    assert_same(frozen_state(whole), frozen_state(rest))


@EVERY
def test_state_survives_packing(method_class: type[LNLMethod]) -> None:
    method = started(method_class, make_task())
    run(method, range(4))
    assert_same(frozen_state(method), STATES[method].save())


@EVERY
def test_no_clean_label_is_asked_for_and_the_data_stay_as_they_are(
    method_class: type[LNLMethod],
) -> None:
    task = make_task()
    labels, images = task.train.labels.clone(), task.train.images.clone()  # type: ignore[attr-defined]
    run(started(method_class, task), range(4))
    asked = questions(task)
    assert asked["clean_labels"] == 0 and set(+asked) <= set(method_class.asks)
    assert sum(asked.values()) <= 1
    assert torch.equal(task.train.labels, labels)
    assert torch.equal(task.train.images, images)  # type: ignore[attr-defined]


@EVERY
def test_it_learns(method_class: type[LNLMethod]) -> None:
    task = make_task(samples=240, rate=0.2, epochs=6)
    method = started(method_class, task, optimiser={"lr": 0.02, "schedule": "step"})
    run(method, range(6))
    p = predict(method, task.train.images).argmax(1)  # type: ignore[attr-defined]
    assert (p.numpy() == clean_labels(task)).mean() > 0.9


@EVERY
def test_its_own_optimiser_comes_before_the_protocols(method_class: type[LNLMethod]) -> None:
    method = started(method_class, make_task(), optimiser={"name": "adam", "lr": 0.123})
    found = {value for name, value in vars(method).items() if name.startswith("optimiser_")}
    found |= {*vars(method).get("optimisers", ()), vars(method).get("optimiser")} - {None}
    assert found
    for optimiser in found:
        assert isinstance(optimiser.inner, torch.optim.Adam)
        assert optimiser.settings.lr == 0.123


@EVERY
@pytest.mark.parametrize("epochs", [1, 2])
def test_the_shortest_budgets(method_class: type[LNLMethod], epochs: int) -> None:
    reports = run(started(method_class, make_task(epochs=epochs)), range(epochs))
    assert all(math.isfinite(report.loss) for report in reports)


@EVERY
def test_two_classes(method_class: type[LNLMethod]) -> None:
    reports = run(started(method_class, make_task(num_classes=2, epochs=3)), range(3))
    assert all(math.isfinite(report.loss) for report in reports)


def test_cross_entropy_is_the_epoch_done_by_hand() -> None:
    method, twin = (started(CLASSES["cross-entropy"], make_task(samples=41)) for _ in range(2))
    report = method.train_epoch(0)
    task, net = twin.task, twin.network.train()
    total = 0.0
    for batch in task.train.batches(16, task.rng("train", 0)):
        p = net(batch.images).softmax(1)
        losses = -torch.stack([p[i, y].log() for i, y in enumerate(batch.labels)])
        total += float(losses.detach().sum())
        twin.optimiser.step(losses.sum() / len(losses))
    assert report.loss == pytest.approx(total / 41, rel=1e-5)  # of samples, not of batches
    for a, b in zip(method.network.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_the_ensemble_is_two_networks_by_cross_entropy_averaged() -> None:
    cls = CLASSES["cross-entropy-ensemble"]
    method, twin = (started(cls, make_task(samples=41)) for _ in range(2))
    method.train_epoch(0)
    task = twin.task
    for number in (0, 1):
        net, optimiser = twin.networks[number].train(), twin.optimisers[number]
        for batch in task.train.batches(16, task.rng(f"train-{number + 1}", 0)):
            p = net(batch.images).softmax(1)
            optimiser.step(-p[range(len(p)), batch.labels].log().mean())
        for a, b in zip(method.networks[number].parameters(), net.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    images = task.train.images[:7]  # type: ignore[attr-defined]
    first, second = (net.eval()(images).softmax(1) for net in twin.networks)
    assert not torch.allclose(first, second, atol=1e-3)  # two, not one twice
    torch.testing.assert_close(predict(method, images), (first + second) / 2, rtol=1e-3, atol=1e-5)


class LowPrecision(TinyHarness):
    def autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast("cpu", torch.bfloat16)


@EVERY
def test_low_precision_stays_in_the_networks(method_class: type[LNLMethod]) -> None:
    task = make_task(samples=48, epochs=4)
    low = LowPrecision(0, 3, 4, task.oracle)  # type: ignore[arg-type]
    task = LearningTask(3, 4, 16, task.train, task.validation, CPU, low)
    method = started(method_class, task)
    reports = run(method, range(4))
    assert all(math.isfinite(report.loss) for report in reports)
    p = predict(method, task.train.images)  # type: ignore[attr-defined]
    assert p.dtype == torch.float32
    torch.testing.assert_close(p.sum(1), torch.ones(len(p)))

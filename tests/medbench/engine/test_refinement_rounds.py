"""Active refinement in one process: budget by sample, the first phase bit for bit, resumption."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from medbench.check.compare import difference
from medbench.check.reference import ReferenceMethod, TinyBackbone
from medbench.check.tasks import BATCH, OPTIMISER, synthetic_data
from medbench.engine.optimisation import ScheduledOptimiser
from medbench.engine.oracle import CountedOracle, Expert, expert_labels
from medbench.engine.readings import refinement_quality
from medbench.engine.refinement import RefinementInput, RefinementStage
from medbench.engine.training import EpochResult, TrainingInput, TrainingStage
from medbench.engine.views import NoisyDeviceImages
from medbench.errors import MedbenchError
from medbench.interfaces import Acquisition, LNLMethod, MethodSettings, Settings
from medbench.interfaces.options import ComputeOptions, RefinementOptions, TrainingOptions
from medbench.store.arrays import dumps, loads
from medbench.store.phases import guessed_clean
from medbench_plugins.acquisitions import ACQUISITIONS
from medbench_plugins.methods.co_teaching import CoTeaching
from medbench_plugins.methods.settings import CoTeachingSettings

DATA = synthetic_data(samples=48, rate=0.4)
OPTIONS = RefinementOptions(rounds=3, budget=4, epochs=2)


class Dropping(TinyBackbone):
    def build(self, space: Any) -> Any:
        module, dim = super().build(space)
        return nn.Sequential(module, nn.Dropout(0.3)), dim


def started(method: LNLMethod, builder: Any = None, **training: Any) -> TrainingStage:
    images = DATA.images
    given = TrainingInput(
        train_images=images,
        train_labels=DATA.noisy,
        validation_images=images[:8],
        validation_labels=DATA.noisy[:8],
        test_images=images[8:20],
        num_classes=3,
        normalise="half",
        training=TrainingOptions(epochs=4, batch_size=BATCH, optimiser=OPTIMISER, **training),
        compute=ComputeOptions(),
        evaluation_batch=32,
        network_seed=0,
        training_seed=1,
    )
    oracle = CountedOracle(DATA.rate, None, DATA.clean)
    return TrainingStage(given, builder or Dropping("drops", Settings()), method, oracle, "cpu")


def co_teaching(**values: Any) -> CoTeaching:
    return CoTeaching("co-teaching", CoTeachingSettings(forget_rate=0.4, warmup_epochs=1, **values))


class Phase:
    """A finished first phase: what its last epoch gave, and what a refinement is given."""

    def __init__(self, make: Any = co_teaching) -> None:
        self.make = make
        stage = started(make())
        self.results = list(stage.epochs())
        self.state = dumps(stage.state.save())
        selected = self.results[-1].report.selected
        clean = guessed_clean([{} if selected is None else {"train/selected": selected}])
        self.clean = np.zeros(48, np.bool_) if clean is None else clean
        self.losses = np.stack([result.loss for result in self.results])

    def refined(self, acquisition: Any, seller: Any = None, **values: Any) -> RefinementStage:
        stage = started(self.make())
        stage.state.load(loads(self.state))
        options = OPTIONS.model_copy(update=values)
        given = RefinementInput(options, self.clean, self.losses, 0.5)
        return RefinementStage(stage, acquisition, given, seller or expert().sell)


@pytest.fixture(scope="module")
def phase() -> Phase:
    return Phase()


def expert(error: float = 0.0, rounds: int = 3, budget: int = 4) -> Expert:
    labels = expert_labels(DATA.clean, 3, error, np.random.default_rng(5))
    return Expert(DATA.rate, None, DATA.clean, labels, rounds=rounds, budget=budget)


def acquisition(name: str) -> Acquisition:
    plugin = next(each for each in ACQUISITIONS if each.name == name)
    module, _, cls = plugin.target.partition(":")
    found = getattr(__import__(module, fromlist=[cls]), cls)
    return found(name, found.Settings())


def assert_same(first: EpochResult, second: EpochResult) -> None:
    for name in ("predicted", "loss", "validation", "test"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


# ---------------------------------------------------------------- rounds


@pytest.mark.parametrize("name", [plugin.name for plugin in ACQUISITIONS])
def test_each_round_buys_its_budget_and_round_0_is_the_first_phase(name: str, phase: Phase) -> None:
    seller = expert()
    asked: list[list[int]] = []

    def sell(indices: np.ndarray) -> np.ndarray:
        asked.append(indices.tolist())
        return seller.sell(indices)

    refined = phase.refined(acquisition(name), sell)
    results = list(refined.rounds())
    assert len(results) == 4
    assert_same(results[0], phase.results[-1])
    assert not np.array_equal(results[1].test, results[0].test)
    assert [len(set(each)) for each in asked] == [4, 4, 4]
    for number, each in enumerate(asked, start=1):
        assert (seller.bought[each] == number).all()
        assert not phase.clean[each].any(), "guessed clean: not a candidate"
    assert (seller.bought > 0).sum() == 12 and dict(seller.answers) == {"expert_labels": 12}
    bought = seller.bought > 0
    np.testing.assert_array_equal(refined.now.labels[bought], DATA.clean[bought])
    np.testing.assert_array_equal(refined.now.labels[~bought], DATA.noisy[~bought])
    np.testing.assert_array_equal(refined.now.trusted, phase.clean | bought)


class Watching(Acquisition):
    """Keeps what it is shown."""

    dropout_passes = 2

    def choose(self, pool: Any, budget: int, rng: np.random.Generator) -> Any:
        self.settings.append((pool, rng.integers(2**62)))
        return pool.candidates[:budget]


def test_the_pool_is_what_the_method_predicts_for_plain_images(phase: Phase) -> None:
    shown: list[Any] = []
    refined = phase.refined(Watching("watching", shown))
    rounds = refined.rounds()
    next(rounds)
    network = refined.networks[0]
    plain = torch.from_numpy(DATA.images).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        network.eval()
        features = network.backbone(plain)
        p = network.head(features).softmax(dim=1)
        network.backbone.backbone[1].train()
        torch.manual_seed(0)
        dropped = network(plain).softmax(dim=1)
    next(rounds)
    pool, _ = shown[0]
    np.testing.assert_allclose(pool.probabilities, p, atol=1e-6)
    np.testing.assert_allclose(pool.features, features, atol=1e-6)
    np.testing.assert_array_equal(pool.labels, DATA.noisy)
    np.testing.assert_array_equal(pool.candidates, np.flatnonzero(~phase.clean))
    np.testing.assert_array_equal(pool.losses, phase.losses)
    one, other = pool.dropout
    assert one.shape == (48, 3) and not np.allclose(one, other)
    # with dropout as without, but for what it drops: batch normalisation is in eval mode
    assert np.abs(one - p.numpy()).mean() == pytest.approx(
        np.abs(dropped.numpy() - p.numpy()).mean(), rel=0.5
    )


def test_each_round_draws_with_a_generator_of_its_own(phase: Phase) -> None:
    shown: list[Any] = []
    list(phase.refined(Watching("watching", shown)).rounds())
    assert len({draw for _, draw in shown}) == 3


@pytest.mark.parametrize("name", ["random", "bald", "badge"])
@pytest.mark.parametrize("done", [1, 3])
def test_continued_in_any_round_it_gives_the_same_bits(name: str, done: int, phase: Phase) -> None:
    seller, again = expert(), expert()
    whole = phase.refined(acquisition(name), seller.sell)
    expected = []
    for number, result in enumerate(whole.rounds(), start=1):
        expected.append(result)
        if number == done:
            saved = dumps([whole.state.save(), seller.state()])
    state, sold = loads(saved)
    again.restore(sold)
    fresh = phase.refined(acquisition(name), again.sell)
    fresh.state.load(state)
    for one, other in zip(expected[done:], fresh.rounds(done), strict=True):
        assert_same(one, other)
    np.testing.assert_array_equal(seller.bought, again.bought)
    assert not difference(vars(whole.now), vars(fresh.now))


def test_a_round_is_the_epochs_of_cross_entropy_done_by_hand(phase: Phase) -> None:
    refined, twin = (phase.refined(acquisition("entropy")) for _ in range(2))
    rounds = refined.rounds()
    next(rounds)
    next(rounds)
    stage = twin.stage
    assert isinstance(stage.method, CoTeaching)
    network = stage.method.network_1
    trusted = torch.from_numpy(np.flatnonzero(refined.now.trusted))
    images = NoisyDeviceImages(
        stage.train, torch.from_numpy(refined.now.labels), stage.given.training.augmentation
    )
    optimiser = ScheduledOptimiser((network,), OPTIMISER, 2)
    for epoch in range(2):
        torch.manual_seed(0)
        refined_seed(stage, epoch)
        network.train()
        optimiser.start_epoch(epoch)
        rng = stage.harness.rng("refinement", epoch)
        for batch in images.batches(BATCH, rng, indices=trusted):
            optimiser.step(F.cross_entropy(network(batch.images), batch.labels))
    ours = refined.stage.method.network_1  # type: ignore[attr-defined]
    for a, b in zip(ours.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def refined_seed(stage: TrainingStage, epoch: int) -> None:
    """Dropout draws from the global generator, which is seeded in each epoch."""
    from medbench.engine.streams import seed_global_rngs

    seed_global_rngs(stage.given.training_seed, epoch)


@pytest.mark.parametrize(("predict_with", "number"), [("first", 1), ("mean", 2)])
def test_the_networks_that_predict_are_fine_tuned(predict_with: str, number: int) -> None:
    phase = Phase(lambda: co_teaching(predict_with=predict_with))
    refined = phase.refined(acquisition("random"))
    method: Any = refined.stage.method
    before = [p.clone() for p in method.network_2.parameters()]
    assert len(refined.networks) == number
    list(refined.rounds())
    pairs = zip(before, method.network_2.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs) == (predict_with == "first")


def test_where_few_are_doubtful_what_was_guessed_clean_can_be_bought(phase: Phase) -> None:
    clean = phase.clean.copy()
    phase.clean = np.arange(48) < 46
    seller = expert()
    try:
        list(phase.refined(acquisition("entropy"), seller.sell).rounds())
    finally:
        phase.clean = clean
    assert np.bincount(seller.bought).tolist() == [36, 4, 4, 4]


# ---------------------------------------------------------------- refusals


class Elsewhere(ReferenceMethod):
    """Predicts with a copy, which the task did not make."""

    def start(self, task: Any) -> None:
        super().start(task)
        self.copy = nn.Linear(12 * 12, 3)

    def predict(self, images: Tensor) -> Tensor:
        return self.copy(images.flatten(1)).softmax(dim=1)


def test_bald_is_refused_on_a_network_without_dropout(phase: Phase) -> None:
    plain = started(co_teaching(), TinyBackbone("tiny", Settings()))
    given = RefinementInput(OPTIONS, phase.clean, phase.losses, 0.5)
    with pytest.raises(
        MedbenchError, match=r"^acquisition bald needs a network with dropout.*tiny"
    ):
        RefinementStage(plain, acquisition("bald"), given, expert().sell)
    RefinementStage(plain, acquisition("badge"), given, expert().sell)
    frozen = started(co_teaching(), backbone="frozen")
    with pytest.raises(MedbenchError, match="backbone drops has none or is frozen"):
        RefinementStage(frozen, acquisition("bald"), given, expert().sell)
    refined = RefinementStage(frozen, acquisition("badge"), given, expert().sell)
    before = [p.clone() for p in refined.networks[0].parameters()]
    list(refined.rounds())
    after = list(refined.networks[0].parameters())
    changed = [not torch.equal(a, b) for a, b in zip(before, after, strict=True)]
    assert changed == [p.requires_grad for p in after] and sum(changed) == 2, "the head alone"


def test_a_method_that_predicts_with_no_network_of_its_task_is_refused() -> None:
    phase = Phase(lambda: Elsewhere("elsewhere", MethodSettings()))
    with pytest.raises(MedbenchError, match="method elsewhere predicts with no network"):
        phase.refined(acquisition("random"))


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ([0, 1, 2], r"chose int64 \(3,\), not 4 positions"),
        ([0.0, 1.0, 2.0, 3.0], r"chose float64 \(4,\)"),
        ([-1, -1, -1, -1], "a sample twice, or one that is not a candidate"),
        ([0, 1, 2, 99], "not a candidate"),
    ],
)
def test_another_choice_than_the_budget_of_candidates_is_refused(
    chosen: list[Any], said: str, phase: Phase
) -> None:
    class Wrong(Acquisition):
        def choose(self, *given: Any) -> Any:
            return np.array(chosen)

    refined = phase.refined(Wrong("wrong", Settings()))
    with pytest.raises(MedbenchError, match=f"^acquisition wrong {said}|acquisition wrong.*{said}"):
        list(refined.rounds())


# ---------------------------------------------------------------- the expert


def test_the_expert_sells_each_label_once_and_no_more_than_the_budget() -> None:
    seller = expert(rounds=2, budget=3)
    np.testing.assert_array_equal(seller.sell(np.array([5, 1, 7])), DATA.clean[[5, 1, 7]])
    for asked in ([1, 2, 3], [2, 3], [2, 2, 3], [2, 3, 4, 6], [2, 3, 48], [2, 3, -1]):
        with pytest.raises(MedbenchError, match=r"^round 2"):
            seller.sell(np.array(asked))
    seller.sell(np.array([0, 2, 3]))
    with pytest.raises(MedbenchError, match=r"^round 3 of 2"):
        seller.sell(np.array([8, 9, 10]))
    assert seller.answers["expert_labels"] == 6
    assert np.flatnonzero(seller.bought).tolist() == [0, 1, 2, 3, 5, 7]


def test_what_was_bought_after_a_checkpoint_is_taken_back() -> None:
    seller = expert()
    seller.sell(np.arange(4))
    state = loads(dumps(seller.state()))
    seller.sell(np.arange(4, 8))
    seller.restore(state)
    assert (seller.bought > 0).sum() == seller.answers["expert_labels"] == 4


def test_a_budget_larger_than_the_set_is_refused() -> None:
    with pytest.raises(MedbenchError, match="7 rounds of 7 labels are more than the 48"):
        expert(rounds=7, budget=7)


def test_an_expert_errs_at_the_stated_rate_and_never_gives_the_true_class_then() -> None:
    clean = np.arange(9000) % 3
    given = expert_labels(clean, 3, 0.2, np.random.default_rng(0))
    assert (given != clean).mean() == pytest.approx(0.2, abs=0.015)
    others = np.bincount((given - clean) % 3)
    assert others[1] == pytest.approx(others[2], rel=0.1)
    np.testing.assert_array_equal(expert_labels(clean, 3, 0.0, np.random.default_rng(0)), clean)


# ---------------------------------------------------------------- quality


@given(seed=st.integers(0, 1000))
def test_label_quality_by_rounds_is_that_of_a_slow_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    T, K, R = 20, 3, 4
    clean, noisy, labels = rng.integers(0, K, (3, T))
    bought = rng.choice([0, 0, 1, 2, 3], T)
    labels = np.where(bought > 0, labels, noisy)
    guessed = rng.random(T) < 0.3
    found = refinement_quality(
        {
            "test/probabilities": np.zeros((R, 2, K)),
            "train/clean_labels": clean,
            "train/noisy_labels": noisy,
            "refinement/bought": bought,
            "refinement/labels": labels,
            "refinement/guessed_clean": guessed,
        }
    )
    for number in range(R):
        now = [labels[i] if 0 < bought[i] <= number else noisy[i] for i in range(T)]
        trusted = [i for i in range(T) if guessed[i] or 0 < bought[i] <= number]
        wrong = [i for i in range(T) if now[i] != clean[i]]
        assert found["curves/refinement/labels_bought"][number] == sum(
            0 < b <= number for b in bought
        )
        assert found["curves/refinement/wrong"][number] == pytest.approx(len(wrong) / T)
        if trusted:
            share = len(set(trusted) & set(wrong)) / len(trusted)
            assert found["curves/refinement/wrong_trusted"][number] == pytest.approx(share)
        for k in range(K):
            members = [i for i in range(T) if clean[i] == k]
            kept = [i for i in members if i in trusted and i not in wrong]
            value = found["curves/refinement/trusted_by_class"][number, k]
            expected = len(kept) / len(members) if members else float("nan")
            assert value == pytest.approx(expected, nan_ok=True)

"""The samples of a run: images, clean labels, noisy ones, and the oracle over them."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medbench import INTERFACE_VERSION, Plugin
from medbench.engine.oracle import CountedOracle
from medbench.engine.samples import (
    NoisyLabels,
    corrupt_labels,
    load_images,
    network_seed,
    realised_matrix,
)
from medbench.engine.selection import resize, select
from medbench.errors import MedbenchError
from medbench.interfaces import DataContext, NoiseModel
from medbench.plugins.kinds import kind_named
from medbench.plugins.registry import Entry, discover
from medbench.protocol.read import ProtocolFile, parse_protocol
from medbench.protocol.runs import expand
from medbench.protocol.spec import PluginSpec, RunSpec
from medbench.store.pixels import Pixels

REGISTRY = discover()
CONTEXT = DataContext(Path("/nowhere"))
DATASET = "covid-qu-ex-mini"

PROTOCOL = """
name = "tiny"
root_seed = 3
[grid]
datasets = ["covid-qu-ex-mini"]
noise = ["symmetric", "pair-flip"]
rates = [0.2, 0.4]
pretexts = ["none", "rotation"]
methods = ["cross-entropy", "co-teaching"]
seeds = [0, 1]
[images]
size = 16
train = 60
validation = 30
test = 24
[backbone]
name = "narrow"
"""

BASE = {"noise": "symmetric", "rate": 0.4, "pretext": "none", "method": "cross-entropy", "seed": 0}


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def run(text=PROTOCOL, **axes) -> RunSpec:
    only = {axis: [value] for axis, value in {**BASE, **axes}.items()}
    file = ProtocolFile(Path("tiny.toml"), text, parse_protocol(text, "tiny.toml"))
    (found,) = expand(file, REGISTRY, CONTEXT, only).runs
    return found


def load(spec, **how):
    dataset = spec.dataset.create(REGISTRY, "dataset")
    given = (dataset, CONTEXT, spec.images, spec.root_seed, spec.seed)
    return load_images(*given, content_hash=spec.dataset.content_hash, **how)


def corrupt(spec, images):
    model = spec.noise.create(REGISTRY, "noise")
    return corrupt_labels(model, spec.rate, images, spec.dataset.name, spec.root_seed, spec.seed)


def images_of(**axes):
    return load(run(**axes))


def noise_of(**axes):
    return corrupt(run(**axes), images_of(**axes))


# ---------------------------------------------------------------- images


def test_images_labels_ids_and_groups_are_those_of_the_dataset() -> None:
    drawn = images_of()
    entry = REGISTRY.get(kind_named("dataset"), DATASET)
    protocol = parse_protocol(PROTOCOL, "tiny.toml")
    with entry.create(DATASET, {}).open(CONTEXT) as data:
        chosen = select(data, protocol.images, 3, DATASET, 0)
        for part, positions in (
            (drawn.train, chosen.train),
            (drawn.validation, chosen.validation),
            (drawn.test, chosen.test),
        ):
            np.testing.assert_array_equal(part.labels, np.asarray(data.labels)[positions])
            np.testing.assert_array_equal(part.ids, np.asarray(data.ids)[positions])
            np.testing.assert_array_equal(part.images, resize(data.images[positions], 16))
            assert part.labels.dtype == np.int64
            if data.groups is None:
                assert part.groups is None
            else:
                np.testing.assert_array_equal(part.groups, data.groups[positions])
    assert [len(p.labels) for p in (drawn.train, drawn.validation, drawn.test)] == [60, 30, 24]


def test_no_image_is_in_two_splits() -> None:
    drawn = images_of()
    ids = [set(part.ids) for part in (drawn.train, drawn.validation, drawn.test)]
    assert len(set.union(*ids)) == 60 + 30 + 24


def test_a_pretraining_reads_the_runs_training_images_and_no_others() -> None:
    spec = run(pretext="rotation")
    whole = load(spec)
    alone = load(spec.pretraining, train_only=True)
    np.testing.assert_array_equal(alone.train.images, whole.train.images)
    assert len(alone.validation.images) == len(alone.test.images) == 0


def test_kept_pixels_are_those_of_the_dataset(tmp_path: Path) -> None:
    """In any order of runs of another seed or size, and pretrainings."""
    kept = Pixels(tmp_path)
    specs = [run(pretext="rotation", seed=seed) for seed in (0, 1)]
    smaller = replace(specs[0], images=specs[0].images.model_copy(update={"size": 8}))
    for spec in (*specs, smaller, *specs):
        for which, train_only in ((spec.pretraining, True), (spec, False)):
            which = replace(which, images=spec.images)
            mine = load(which, train_only=train_only, cache=kept.get)
            true = load(which, train_only=train_only)
            for name in ("train", "validation", "test"):
                found, expected = getattr(mine, name), getattr(true, name)
                np.testing.assert_array_equal(found.images, expected.images)
                np.testing.assert_array_equal(found.labels, expected.labels)
    # a test set for each size, and for each seed and size what has noisy labels
    assert len(list(tmp_path.glob("*.uint8"))) == 2 + 3


def test_data_that_has_changed_is_refused() -> None:
    spec = run()
    with pytest.raises(MedbenchError, match=f"dataset {DATASET} has changed"):
        load(replace(spec, dataset=replace(spec.dataset, content_hash="0" * 64)))


# ---------------------------------------------------------------- noisy labels


def test_all_entrants_of_a_block_and_seed_meet_the_same_labels() -> None:
    hashes = {
        noise_of(pretext=pretext, method=method).labels_hash()
        for pretext in ("none", "rotation")
        for method in ("cross-entropy", "co-teaching")
    }
    assert len(hashes) == 1


@pytest.mark.parametrize("axes", [{"seed": 1}, {"rate": 0.2}, {"noise": "pair-flip"}])
def test_seed_rate_and_noise_model_change_the_labels(axes) -> None:
    assert noise_of(**axes).labels_hash() != noise_of().labels_hash()


def test_training_settings_and_image_size_change_no_label() -> None:
    for old, new in (("size = 16", "size = 24"), ('"narrow"', '"narrow"\nwidth = 8')):
        text = PROTOCOL.replace(old, new) + "[training]\nepochs = 7\n"
        assert noise_of(text=text).labels_hash() == noise_of().labels_hash()


def test_the_root_seed_changes_the_labels() -> None:
    spec = run()
    images = load(spec)
    other = corrupt(replace(spec, root_seed=4), images)
    assert other.labels_hash() != corrupt(spec, images).labels_hash()


def test_clean_labels_are_left_as_they_are_and_noise_is_of_the_rate() -> None:
    spec = run()
    images = load(spec)
    kept = images.train.labels.copy(), images.validation.labels.copy()
    noise = corrupt(spec, images)
    np.testing.assert_array_equal(images.train.labels, kept[0])
    np.testing.assert_array_equal(images.validation.labels, kept[1])
    flipped = np.mean(np.concatenate([noise.train, noise.validation]) != np.concatenate(kept))
    assert abs(flipped - 0.4) < 4 * np.sqrt(0.4 * 0.6 / 90)
    assert noise.train.dtype == noise.validation.dtype == np.int64
    np.testing.assert_allclose(noise.matrix, 0.2 + 0.4 * np.eye(3))


def test_a_noise_model_is_shown_each_image_with_its_label() -> None:
    shown = {}

    def look(data):
        shown["labels"], shown["images"] = data.labels.copy(), np.asarray(data.images[:])
        shown["names"] = data.class_names
        return data.labels.copy()

    spec = replace(run(), noise=PluginSpec("tests", "given", "given", 1, {}))
    images = load(spec)
    with registered(look):
        noise = corrupt(spec, images)
    both = (images.train, images.validation)
    np.testing.assert_array_equal(shown["labels"], np.concatenate([part.labels for part in both]))
    np.testing.assert_array_equal(shown["images"], np.concatenate([part.images for part in both]))
    assert shown["names"] == images.card.class_names
    np.testing.assert_array_equal(noise.train, images.train.labels)
    np.testing.assert_array_equal(noise.validation, images.validation.labels)
    np.testing.assert_array_equal(noise.realised, np.eye(3))


def test_the_labels_hash_by_hand() -> None:
    noise = NoisyLabels(np.array([0, 2]), np.array([1]), None, np.eye(3))
    content = b"".join(int(label).to_bytes(8, "little") for label in (0, 2, 1))
    assert noise.labels_hash() == hashlib.sha256(content).hexdigest()


def seed_of(spec):
    return network_seed(spec.root_seed, spec.dataset.name, spec.seed)


def test_initial_weights_are_seeded_by_dataset_and_seed_alone() -> None:
    seeds = {
        seed_of(run(noise=noise, rate=rate, pretext=pretext, method=method))
        for noise in ("symmetric", "pair-flip")
        for rate in (0.2, 0.4)
        for pretext in ("none", "rotation")
        for method in ("cross-entropy", "co-teaching")
    }
    assert len(seeds) == 1
    assert seed_of(run(seed=1)) not in seeds
    # a pretraining starts from what its runs would have started from
    assert seed_of(run(pretext="rotation").pretraining) in seeds


# ---------------------------------------------------------------- what foreign noise may give


class Given(NoiseModel):
    """Returns the given value for any argument."""

    answer = None

    def transition_matrix(self, class_names, dataset, rate):
        return None

    def corrupt(self, data, rate, rng):
        given = self.answer(data)
        data.labels[:] = 0  # a rude model writes into what it is shown
        return given


@contextmanager
def registered(answer):
    Given.answer = staticmethod(answer)
    place = ("noise", "given")
    plugin = Plugin("given", f"{__name__}:Given", "", INTERFACE_VERSION)
    REGISTRY.entries[place] = Entry(kind_named("noise"), plugin, "tests", "1")
    try:
        yield
    finally:
        del REGISTRY.entries[place]


def foreign(answer):
    spec = replace(run(), noise=PluginSpec("tests", "given", "given", 1, {}))
    images = load(spec)
    kept = images.train.labels.copy()
    with registered(lambda data: answer(len(data.labels))):
        noise = corrupt(spec, images)
    np.testing.assert_array_equal(images.train.labels, kept)
    return noise


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda n: np.zeros(n + 1, int), ["expected integers of shape (90,)", "(91,)"]),
        (lambda n: np.zeros((n, 1), int), ["expected integers of shape (90,)"]),
        (lambda n: np.zeros(n), ["float64", "expected integers"]),
        (lambda n: None, ["expected integers"]),
        (lambda n: np.full(n, 3), ["from 3 to 3", "expected 0 to 2"]),
        (lambda n: np.full(n, -1), ["from -1 to -1", "expected 0 to 2"]),
    ],
)
def test_nonsense_of_a_noise_model_is_refused(answer, words) -> None:
    with pytest.raises(MedbenchError) as caught:
        foreign(answer)
    for word in ("noise model given", *words):
        assert word in str(caught.value)


def test_lists_and_narrow_integers_are_taken() -> None:
    for answer in (lambda n: [1] * n, lambda n: np.ones(n, np.uint8)):
        noise = foreign(answer)
        assert noise.train.dtype == np.int64 and set(noise.train) == {1}
        assert noise.matrix is None


# ---------------------------------------------------------------- matrices


@given(st.integers(0, 2**32), st.integers(2, 5), st.integers(1, 60))
@settings(max_examples=50, deadline=None)
def test_the_realised_matrix_is_that_of_a_slow_loop(seed, K, N) -> None:
    rng = np.random.default_rng(seed)
    clean, noisy = rng.integers(0, rng.integers(1, K + 1), N), rng.integers(0, K, N)
    found = realised_matrix(clean, noisy, K)
    for i in range(K):
        of_class = [noisy[n] for n in range(N) if clean[n] == i]
        for j in range(K):
            if of_class:
                assert found[i, j] == sum(label == j for label in of_class) / len(of_class)
            else:
                assert np.isnan(found[i, j])


def learnable(matrix, realised=None):
    labels = np.zeros(1, np.int64)
    realised = np.eye(3) if realised is None else np.array(realised, float)
    matrix = None if matrix is None else np.array(matrix, float)
    return NoisyLabels(labels, labels, matrix, realised).learnable


def exclusive(rate, K):
    return (1 - rate) * np.eye(K) + rate / (K - 1) * (1 - np.eye(K))


@pytest.mark.parametrize(
    ("rate", "K", "expected"),
    [
        (0.6, 3, True),  # .4 against .3
        (0.7, 3, False),  # .3 against .35
        (0.8, 9, True),  # .2 against .1
        (0.9, 9, False),  # .1 against .1125
        (0.4, 2, True),
        (0.5, 2, False),  # a tie: nothing to be learned
        (0.0, 3, True),
        (1.0, 3, False),
    ],
)
def test_what_can_be_learned_under_exclusive_noise(rate, K, expected) -> None:
    assert learnable(exclusive(rate, K)) is expected


def test_every_class_must_be_learnable() -> None:
    assert learnable([[0.9, 0.1, 0], [0.2, 0.5, 0.3], [0.1, 0.3, 0.6]])
    assert not learnable([[0.9, 0.1, 0], [0.5, 0.4, 0.1], [0.1, 0.3, 0.6]])


def test_without_a_stated_matrix_the_realised_one_decides() -> None:
    good, bad = [[0.6, 0.2, 0.2], [0, 1, 0], [0, 0, 1]], [[0.3, 0.4, 0.3], [0, 1, 0], [0, 0, 1]]
    assert learnable(None, good)
    assert not learnable(None, bad)
    assert learnable(good, bad)  # a stated one goes first
    absent = [np.nan] * 3
    assert learnable(None, [good[0], absent, [0, 0.4, 0.6]])
    assert not learnable(None, [bad[0], absent, [0, 0.4, 0.6]])


def test_labels_as_given_are_left_alone_and_their_truth_is_known_only_if_trusted() -> None:
    images, model = (
        images_of(),
        REGISTRY.get(kind_named("noise"), "as-given").create("as-given", {}),
    )

    def noise_with(trusted: tuple[str, ...]):
        seen = replace(images, card=replace(images.card, trusted=trusted))
        return corrupt_labels(model, 0.0, seen, DATASET, 3, 0)

    unknown, known = noise_with(("test",)), noise_with(("train",))
    for noise in (unknown, known):
        np.testing.assert_array_equal(noise.train, images.train.labels)
        np.testing.assert_array_equal(noise.validation, images.validation.labels)
        assert noise.matrix is None
    assert (unknown.realised, unknown.learnable) == (None, None)
    np.testing.assert_array_equal(known.realised, np.eye(3))
    assert known.learnable


def test_a_class_profile_is_that_of_the_training_images_and_is_on_the_card() -> None:
    plain, tail = images_of(), load(run(f"{PROTOCOL}\n[datasets.{DATASET}]\nlong_tail = 4"))
    counts = np.bincount(tail.train.labels, minlength=3)
    assert counts.sum() == len(plain.train.labels)
    assert counts.max() / counts.min() == pytest.approx(4, rel=0.1)
    np.testing.assert_array_equal(tail.validation.ids, plain.validation.ids)
    np.testing.assert_array_equal(tail.test.ids, plain.test.ids)
    names = tail.card.class_names
    in_test = np.bincount(tail.test.labels, minlength=3)
    note = tail.card.confounders[-1]
    assert ", ".join(f"{n} {name}" for n, name in zip(counts, names, strict=True)) in note
    assert ", ".join(f"{n} {name}" for n, name in zip(in_test, names, strict=True)) in note
    assert tail.card.confounders[:-1] == plain.card.confounders


# ---------------------------------------------------------------- the oracle


def oracle(matrix=None):
    return CountedOracle(0.4, matrix, np.array([2, 0, 1, 1]))


def test_every_answer_is_counted() -> None:
    asked = oracle(exclusive(0.4, 3))
    assert dict(asked.answers) == {}
    assert asked.noise_rate() == asked.noise_rate() == 0.4
    assert asked.noise_is_symmetric() is True
    np.testing.assert_array_equal(asked.transition_matrix(), exclusive(0.4, 3))
    np.testing.assert_array_equal(asked.clean_labels(np.array([3, 0])), [1, 2])
    np.testing.assert_array_equal(asked.clean_labels(np.array([0, 0, 0])), [2, 2, 2])
    assert dict(asked.answers) == {
        "noise_rate": 2,
        "noise_is_symmetric": 1,
        "transition_matrix": 1,
        "clean_labels": 5,
    }


def test_what_is_asked_for_cannot_be_written_into() -> None:
    matrix = exclusive(0.4, 3)
    asked = oracle(matrix)
    asked.transition_matrix()[:] = 0
    asked.clean_labels(np.arange(4))[:] = 0
    np.testing.assert_array_equal(asked.transition_matrix(), exclusive(0.4, 3))
    np.testing.assert_array_equal(asked.clean_labels(np.arange(4)), [2, 0, 1, 1])


@pytest.mark.parametrize("outside", [4, -1])
def test_a_question_outside_the_training_set_is_no_answer(outside) -> None:
    asked = oracle()
    with pytest.raises(IndexError):
        asked.clean_labels(np.array([0, outside]))
    assert dict(asked.answers) == {}


def test_symmetry_of_the_noise() -> None:
    inclusive = 0.6 * np.eye(3) + 0.4 / 3
    pairs = np.array([[0.6, 0.4, 0], [0, 0.6, 0.4], [0.4, 0, 0.6]])
    assert oracle(inclusive).noise_is_symmetric()
    assert oracle(np.array([[0.8, 0.2], [0.2, 0.8]])).noise_is_symmetric()
    assert not oracle(np.array([[0.8, 0.2], [0.3, 0.7]])).noise_is_symmetric()
    assert not oracle(pairs).noise_is_symmetric()
    assert not oracle(None).noise_is_symmetric()

"""Instance-dependent noise against loops written out and against its own draws."""

from __future__ import annotations

import math
import tracemalloc
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, chi2_contingency, chisquare, kstest, truncnorm

from medbench.engine.samples import corrupt_labels, load_images
from medbench.errors import MedbenchError
from medbench.interfaces.dataset import DataContext
from medbench.interfaces.noise import CleanLabels
from medbench.plugins.registry import discover
from medbench.protocol.read import ProtocolFile, parse_protocol
from medbench.protocol.runs import expand
from medbench_plugins.noise import instance_dependent
from medbench_plugins.noise.instance_dependent import (
    InstanceDependent,
    cell_means,
    flip_probabilities,
    flip_rates,
    pixels,
)

Array = np.ndarray


def model(**settings_: Any) -> InstanceDependent:
    return InstanceDependent("instance-dependent", InstanceDependent.Settings(**settings_))


def noise_images(count: int, side: int = 9, channels: int = 3, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(256, size=(count, side, side, channels), dtype="u1")


def data(labels: Array, K: int, images: Any) -> CleanLabels:
    names = tuple(f"class {k}" for k in range(K))
    return CleanLabels(np.asarray(labels, np.int64), names, "toy", images)


# Against loops


def pixels_by_loops(images: Array, cells: int) -> list[list[float]]:
    _, H, W, C = images.shape
    R, S = min(cells, H), min(cells, W)
    rows = []
    for image in images:
        row = []
        for r in range(R):
            for s in range(S):
                top, bottom = r * H // R, (r + 1) * H // R
                left, right = s * W // S, (s + 1) * W // S
                for c in range(C):
                    values = [
                        int(image[y, x, c]) for y in range(top, bottom) for x in range(left, right)
                    ]
                    row.append(sum(values) / len(values))
        rows.append(row)
    out = [list(row) for row in rows]
    for c in range(C):
        values = [v for row in rows for v in row[c::C]]
        mean = math.fsum(values) / len(values)
        deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / len(values))
        for i, row in enumerate(rows):
            for d in range(c, len(row), C):
                out[i][d] = (row[d] - mean) / deviation if deviation > 0 else 0.0
    return out


@pytest.mark.parametrize(
    ("side", "channels", "cells"), [(8, 3, 8), (9, 1, 4), (13, 3, 5), (3, 1, 8), (7, 3, 1)]
)
def test_pixels_against_loops(side: int, channels: int, cells: int) -> None:
    images = noise_images(6, side, channels)
    x = pixels(images, 6, cells)
    assert x.dtype == np.float32 and x.shape == (6, min(cells, side) ** 2 * channels)
    np.testing.assert_allclose(x, pixels_by_loops(images, cells), rtol=1e-4, atol=2e-5)


def probabilities_by_loops(x: Array, y: int, q: float, W: Array) -> list[float]:
    D, K = W.shape
    a = [sum(float(x[d]) * float(W[d, j]) for d in range(D)) for j in range(K)]
    top = max(a[j] for j in range(K) if j != y)
    e = [0.0 if j == y else math.exp(a[j] - top) for j in range(K)]
    return [1 - q if j == y else q * e[j] / sum(e) for j in range(K)]


@given(K=st.integers(2, 6), D=st.integers(1, 8), seed=st.integers(0, 2**31))
@settings(deadline=None)
def test_distribution_against_loops(K: int, D: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, W, q = rng.standard_normal((5, D)), rng.standard_normal((D, K)), rng.random(5)
    own = int(rng.integers(K))
    P = flip_probabilities(x, own, q, W)
    expected = [probabilities_by_loops(x[i], own, q[i], W) for i in range(5)]
    np.testing.assert_allclose(P, expected, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(P.sum(axis=1), 1, atol=1e-12)


@pytest.mark.parametrize("K", [2, 3, 5])
@pytest.mark.parametrize("rate", [0.1, 0.4, 0.9])
def test_labels_are_those_of_the_algorithm_written_out(K: int, rate: float) -> None:
    N, cells = 60, 4
    images = noise_images(N)
    clean = np.random.default_rng(1).integers(K, size=N)
    noisy = model(cells=cells).corrupt(data(clean, K, images), rate, np.random.default_rng(5))

    rng = np.random.default_rng(5)
    u = rng.random(N)
    q = truncnorm.ppf(u, -rate / 0.1, (1 - rate) / 0.1, loc=rate, scale=0.1)
    place = rng.random(N)
    x = np.array(pixels_by_loops(images, cells))
    W = [rng.standard_normal((cells * cells * 3, K)) for _ in range(K)]
    for i in range(N):
        P = probabilities_by_loops(x[i], clean[i], q[i], W[clean[i]])
        cumulative, expected = 0.0, K - 1
        for j in range(K):
            cumulative += P[j]
            if place[i] < cumulative:
                expected = j
                break
        assert noisy[i] == expected


# Rates


@pytest.mark.parametrize("rate", [0.0, 0.03, 0.1, 0.5, 0.8, 1.0])
def test_flip_rates_are_a_truncated_normal(rate: float) -> None:
    q = flip_rates(20_000, rate, 0.1, np.random.default_rng(3))
    truth = truncnorm(-rate / 0.1, (1 - rate) / 0.1, loc=rate, scale=0.1)
    assert q.min() >= 0 and q.max() <= 1
    assert kstest(q, truth.cdf).pvalue > 1e-3


@pytest.mark.parametrize("K", [2, 4])
@pytest.mark.parametrize("rate", [0.1, 0.2, 0.4, 0.6, 0.8])
def test_realised_rate_is_the_mean_of_the_truncated_normal(rate: float, K: int) -> None:
    N = 20_000
    clean = np.arange(N) % K
    images = noise_images(N, 4, 1)
    noisy = model().corrupt(data(clean, K, images), rate, np.random.default_rng(8))
    expected = truncnorm(-rate / 0.1, (1 - rate) / 0.1, loc=rate, scale=0.1).mean()
    for k in range(K):
        flipped = int((noisy[clean == k] != k).sum())
        assert binomtest(flipped, int((clean == k).sum()), expected).pvalue > 1e-4
    if 0.2 <= rate <= 0.8:  # where truncation hardly matters, that is the nominal rate
        assert expected == pytest.approx(rate, abs=0.006)


def test_rate_0_flips_nothing_although_the_truncated_normal_would() -> None:
    clean = np.arange(500) % 3
    assert truncnorm(0.0, 10.0, loc=0.0, scale=0.1).mean() > 0.07
    noisy = model().corrupt(data(clean, 3, noise_images(500)), 0.0, np.random.default_rng(0))
    np.testing.assert_array_equal(noisy, clean)
    assert noisy is not clean


# What is seen decides


def two_kinds(each: int) -> Array:
    """Left half bright, then right half bright, both with a little noise."""
    images = noise_images(2 * each, 8, 1, seed=4) // 8
    images[:each, :, :4] += 200
    images[each:, :, 4:] += 200
    return images


def test_images_of_two_kinds_are_taken_for_different_classes() -> None:
    each, K = 2000, 5
    kind = np.repeat([0, 1], each)
    noisy = model().corrupt(
        data(np.zeros(2 * each), K, two_kinds(each)), 0.5, np.random.default_rng(2)
    )
    wrong = noisy != 0
    table = np.array([np.bincount(noisy[wrong & (kind == g)], minlength=K)[1:] for g in (0, 1)])
    assert chi2_contingency(table[:, table.sum(axis=0) > 0]).pvalue < 1e-50
    # The rates to flip do not depend on what is seen, only the classes taken.
    shares = [int((wrong & (kind == g)).sum()) for g in (0, 1)]
    assert binomtest(shares[0], sum(shares)).pvalue > 1e-3


def test_images_that_look_alike_get_the_same_wrong_class() -> None:
    images = two_kinds(500)
    noisy = model().corrupt(data(np.zeros(1000), 6, images), 0.6, np.random.default_rng(0))
    for part in (noisy[:500], noisy[500:]):
        counts = np.bincount(part[part != 0], minlength=6)
        assert counts.max() / counts.sum() > 0.85


def test_the_true_class_has_its_own_projection() -> None:
    images = np.repeat(two_kinds(300)[:300], 2, axis=0)  # each image once in class 0, once in 1
    clean = np.arange(600) % 2
    noisy = model().corrupt(data(clean, 8, images), 0.9, np.random.default_rng(1))
    taken = [np.bincount(noisy[(clean == k) & (noisy != k)], minlength=8).argmax() for k in (0, 1)]
    assert taken[0] != taken[1]


def test_images_without_content_are_taken_for_all_other_classes_alike() -> None:
    N, K = 12_000, 4
    clean = np.arange(N) % K
    images = np.full((N, 6, 6, 3), 77, np.uint8)
    noisy = model().corrupt(data(clean, K, images), 0.5, np.random.default_rng(6))
    for k in range(K):
        counts = np.bincount(noisy[(clean == k) & (noisy != k)], minlength=K)
        assert chisquare(np.delete(counts, k)).pvalue > 1e-3


# Invariances


@given(order=st.permutations(range(8)))
@settings(max_examples=25, deadline=None)
def test_permuting_samples_permutes_their_distributions(order: list[int]) -> None:
    """Labels are drawn by position; given rate and projection a sample's chances are its own."""
    images, rng = noise_images(8), np.random.default_rng(0)
    q, W = rng.random(8), rng.standard_normal((27, 4))
    x, permuted = pixels(images, 8, 3), pixels(images[order], 8, 3)
    np.testing.assert_allclose(permuted, x[order], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(
        flip_probabilities(x[order], 1, q[order], W), flip_probabilities(x, 1, q, W)[order]
    )


def test_brighter_or_flatter_pictures_of_the_same_look_the_same() -> None:
    dim = noise_images(20) // 2
    np.testing.assert_allclose(pixels(dim, 20, 4), pixels(dim + 40, 20, 4), rtol=1e-4, atol=1e-4)


def test_neither_chunks_nor_a_file_change_labels(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    images, clean = noise_images(300, 10), np.arange(300) % 3

    def labels(source: Any) -> Array:
        return model().corrupt(data(clean, 3, source), 0.5, np.random.default_rng(3))

    whole = labels(images)
    monkeypatch.setattr(instance_dependent, "_CHUNK_BYTES", 10_000)
    np.testing.assert_array_equal(labels(images), whole)
    with h5py.File(tmp_path / "images.h5", "w") as file:
        np.testing.assert_array_equal(labels(file.create_dataset("images", data=images)), whole)


def test_memory_is_bounded_by_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    images, clean = noise_images(1500, 64), np.arange(1500) % 3  # 18 MiB of pixels
    monkeypatch.setattr(instance_dependent, "_CHUNK_BYTES", 2**20)
    tracemalloc.start()
    try:
        model().corrupt(data(clean, 3, images), 0.5, np.random.default_rng(0))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1500 * 768 + 4 * 2**20


@pytest.mark.parametrize("labels", [[], [2], [0, 0, 2, 2]])
def test_no_sample_one_sample_and_a_class_without_samples(labels: list[int]) -> None:
    clean = np.array(labels, np.int64)
    noisy = model().corrupt(
        data(clean, 3, noise_images(len(labels))), 0.7, np.random.default_rng(0)
    )
    assert noisy.shape == clean.shape and noisy.dtype == np.int64
    assert ((noisy >= 0) & (noisy < 3)).all()


def test_two_classes_flip_to_one_another() -> None:
    clean = np.arange(400) % 2
    noisy = model().corrupt(data(clean, 2, noise_images(400)), 1.0, np.random.default_rng(0))
    assert set(noisy.tolist()) == {0, 1}
    assert 0.85 < (noisy == 1 - clean).mean() < 0.99  # at a rate of 1 the mean of q is .92


# Faults of the code that goes around


def test_upstream_fault_noise_seeded_with_0_in_every_run() -> None:
    clean, images = np.arange(300) % 3, noise_images(300)
    state = np.random.get_state()[1].tolist()  # noqa: NPY002 - it is not to be touched
    draws = [
        model().corrupt(data(clean, 3, images), 0.5, np.random.default_rng(seed))
        for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0] != draws[2]).any()
    assert np.random.get_state()[1].tolist() == state  # noqa: NPY002


def test_upstream_fault_noise_read_from_a_private_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("builtins.open", lambda *a, **k: pytest.fail("a file was opened"))
    clean = np.arange(30) % 3
    model().corrupt(data(clean, 3, noise_images(30)), 0.5, np.random.default_rng(1))


# Contract


def test_there_is_no_matrix_but_there_are_limits() -> None:
    assert model().transition_matrix(("a", "b"), "toy", 0.3) is None
    with pytest.raises(MedbenchError, match="between 0 and 1"):
        model().transition_matrix(("a", "b"), "toy", 1.2)
    with pytest.raises(MedbenchError, match="fewer than two classes"):
        model().corrupt(data(np.zeros(3), 1, noise_images(3)), 0.3, np.random.default_rng(0))


def test_cell_means_are_exact() -> None:
    images = np.array([[[[1], [2], [4]], [[3], [5], [255]], [[7], [11], [13]]]], np.uint8)
    np.testing.assert_array_equal(
        cell_means(images, 2, 2)[0, :, :, 0], [[1.0, 3.0], [(3 + 7) / 2, (5 + 255 + 11 + 13) / 4]]
    )


PROTOCOL = """
name = "toy"
[grid]
datasets = ["covid-qu-ex-mini"]
noise = ["instance-dependent"]
rates = [0.4]
pretexts = ["none"]
methods = ["cross-entropy"]
seeds = [0, 1]
[images]
size = 24
train = 120
validation = 30
test = 30
"""


def test_in_a_run_it_is_evaluated_by_the_realised_matrix(tmp_path: Path) -> None:
    registry, context = discover(), DataContext(tmp_path)
    file = ProtocolFile(Path("toy.toml"), PROTOCOL, parse_protocol(PROTOCOL, "toy.toml"))
    runs = expand(file, registry, context).runs
    drawn = []
    for run in (runs[0], runs[0], runs[1]):
        dataset, model = (
            run.dataset.create(registry, "dataset"),
            run.noise.create(registry, "noise"),
        )
        images = load_images(dataset, context, run.images, run.root_seed, run.seed)
        name = run.dataset.name
        drawn.append(corrupt_labels(model, run.rate, images, name, run.root_seed, run.seed))
    assert drawn[0].matrix is None and drawn[0].realised.shape == (3, 3)
    assert isinstance(drawn[0].learnable, bool)
    assert drawn[0].labels_hash() == drawn[1].labels_hash() != drawn[2].labels_hash()

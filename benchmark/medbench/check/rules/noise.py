"""Rules for noise models."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from medbench.check.compare import require_equal
from medbench.check.contract import (
    NotApplicable,
    Violation,
    refusal_is_not_applicable,
    rule_of,
)
from medbench.check.global_rngs import FIX, WHY, unchanged_global_rngs
from medbench.check.plugin import PluginUnderTest
from medbench.interfaces.noise import CleanLabels, NoiseModel

rule = rule_of("noise")

#: Rates at which matrices and draws are looked at.
RATES = (0.0, 0.2, 0.4)

#: A matrix is wrong where its own draws are less likely than this.
UNLIKELY = 1e-6


def clean(samples: int = 600, num_classes: int = 3, *, classes: int = 0, channels: int = 1) -> Any:
    """Return labels with images of 8 px: class k is brighter in row k."""
    rng = np.random.default_rng(samples)
    labels = (np.arange(samples) % (classes or num_classes)).astype(np.int64)
    images = rng.integers(0, 120, (samples, 8, 8, channels))
    images[np.arange(samples), labels % 8] += 100
    names = tuple(f"class {k}" for k in range(num_classes))
    return CleanLabels(labels, names, "checked", images.astype(np.uint8))


def corrupted(
    plugin: PluginUnderTest, data: CleanLabels, rate: float, seed: int = 0, model: Any = None
) -> NDArray[np.int64]:
    """Return noisy labels; a rate or data that the model refuses in one line are no violation."""
    made: NoiseModel = model or plugin.make()
    with refusal_is_not_applicable():
        made.transition_matrix(data.class_names, data.dataset, rate)
        return made.corrupt(data, rate, np.random.default_rng(seed))


def check_labels(noisy: Any, data: CleanLabels) -> None:
    """Check that a value is noisy labels of the data."""
    if not isinstance(noisy, np.ndarray):
        raise Violation(f"corrupt returned a {type(noisy).__name__}, not a numpy array")
    if noisy.shape != data.labels.shape or noisy.dtype != np.int64:
        raise Violation(
            f"corrupt returned {noisy.dtype} {noisy.shape}, not int64 {data.labels.shape}"
        )
    if noisy.size and not (noisy.min() >= 0 and noisy.max() < data.num_classes):
        raise Violation(
            f"noisy labels go from {noisy.min()} to {noisy.max()}, not 0 to {data.num_classes - 1}"
        )


@rule(
    expects="corrupt gives int64 labels (N,) from 0 to K-1",
    why="All entrants of a block learn from them; the harness fails a run on others.",
    fix="return labels.astype(np.int64), and take K from data.num_classes",
)
def labels(plugin: PluginUnderTest) -> None:
    """Look at draws at several rates."""
    data = clean()
    for rate in RATES:
        check_labels(corrupted(plugin, data, rate), data)


@rule(
    expects="the same data, rate and generator give the same labels, in the first and later calls",
    why="All entrants of a block must get the same labels, in any process and order.",
    fix="draw only from rng; keep no state between calls; iterate over no set",
)
def repeats(plugin: PluginUnderTest) -> None:
    """Draw twice with one instance, and once with another."""
    data, model = clean(), plugin.make()
    first = corrupted(plugin, data, 0.4, model=model)
    for which, other in (("a second call", model), ("another instance", plugin.make())):
        again = corrupted(plugin, data, 0.4, model=other)
        if not np.array_equal(first, again):
            raise Violation(f"{which} changed {int((first != again).sum())} of {len(first)} labels")


@rule(
    expects="different generators give different labels",
    why="Seeds show how much of a result is chance.",
    fix="use rng; create no generator of your own",
)
def generator_matters(plugin: PluginUnderTest) -> None:
    """Draw with two seeds."""
    data = clean()
    one, two = (corrupted(plugin, data, 0.4, seed) for seed in (0, 1))
    if np.array_equal(one, two):
        if np.array_equal(one, data.labels):
            raise NotApplicable("it changed no label at rate 0.4")
        raise Violation("seeds 0 and 1 gave the same noisy labels")


@rule(
    expects="the global generators of Python, numpy and torch are neither used nor seeded",
    why=WHY,
    fix=FIX,
)
def global_generators(plugin: PluginUnderTest) -> None:
    """Watch the global generators over a draw."""
    with unchanged_global_rngs():
        corrupted(plugin, clean(), 0.4)


@rule(
    expects="the clean labels and images are not changed",
    why="All results are evaluated against them.",
    fix="noisy = data.labels.copy()",
)
def data_untouched(plugin: PluginUnderTest) -> None:
    """Compare labels and images before and after."""
    data = clean()
    kept = {"labels": data.labels.copy(), "images": np.array(data.images)}
    corrupted(plugin, data, 0.4)
    now = {"labels": data.labels, "images": np.asarray(data.images)}
    require_equal(kept, now, "before and after")


def stated(plugin: PluginUnderTest, data: CleanLabels, rate: float) -> NDArray[np.float64]:
    """Return the stated matrix."""
    with refusal_is_not_applicable():
        matrix = plugin.make().transition_matrix(data.class_names, data.dataset, rate)
    if matrix is None:
        raise NotApplicable("it states no transition matrix")
    return np.asarray(matrix)


@rule(
    expects="the transition matrix, if given, is (K, K), in [0, 1], and its rows sum to 1",
    why="Unlearnable blocks are marked by it before a run, and methods may ask for it.",
    fix="T[i, j] is P(noisy = j | true = i): divide each row by its sum",
)
def matrix(plugin: PluginUnderTest) -> None:
    """Look at matrices for two, three and five classes."""
    refused = ""
    looked = 0
    for num_classes in (2, 3, 5):
        for rate in RATES:
            try:
                T = stated(plugin, clean(num_classes=num_classes), rate)
            except NotApplicable as reason:
                refused = str(reason)
                continue
            looked += 1
            if T.shape != (num_classes, num_classes):
                raise Violation(f"for {num_classes} classes its shape is {T.shape}")
            if not np.isfinite(T).all() or T.min() < -1e-9 or T.max() > 1 + 1e-9:
                raise Violation(f"at rate {rate} its entries go from {T.min()} to {T.max()}")
            if np.abs(T.sum(axis=1) - 1).max() > 1e-6:
                raise Violation(f"at rate {rate} its rows sum to {T.sum(axis=1).round(4).tolist()}")
    if not looked:
        raise NotApplicable(refused)


@rule(
    expects="draws follow the transition matrix",
    why="A block whose noise differs from its description is compared with the wrong blocks.",
    fix="derive from MatrixNoise, which draws by the matrix; return None if no matrix applies",
)
def matrix_agrees(plugin: PluginUnderTest) -> str:
    """Count 30,000 draws against the matrix, by a chi-square test of each row."""
    data = clean(30_000)
    worst = 1.0
    for rate in RATES:
        T = stated(plugin, data, rate)
        noisy = corrupted(plugin, data, rate, seed=7)
        for k in range(data.num_classes):
            counts = np.bincount(noisy[data.labels == k], minlength=data.num_classes)
            expected = counts.sum() * T[k]
            if counts[expected < 1e-9].any():
                raise Violation(
                    f"at rate {rate} class {k} became one it has probability 0 of becoming"
                )
            possible = expected > 1e-9
            statistic = float(((counts - expected)[possible] ** 2 / expected[possible]).sum())
            p = float(chi2.sf(statistic, possible.sum() - 1)) if possible.sum() > 1 else 1.0
            worst = min(worst, p)
            if p < UNLIKELY:
                shares = (counts / counts.sum()).round(3).tolist()
                raise Violation(
                    f"at rate {rate} class {k} became {shares}, by the matrix "
                    f"{T[k].round(3).tolist()} "
                    f"(chi-square p = {p:.2g})"
                )
    return f"least p of the rows {worst:.2g}"


@rule(
    expects="at rate 0 no label changes",
    why="Rate 0 means no noise; it is the control of every study.",
    fix="make each probability of a change a multiple of the rate",
)
def rate_zero(plugin: PluginUnderTest) -> None:
    """Draw at rate 0."""
    data = clean()
    changed = int((corrupted(plugin, data, 0.0) != data.labels).sum())
    if changed:
        raise Violation(f"{changed} of {len(data.labels)} labels changed at rate 0")


@rule(
    expects="a higher rate changes more labels",
    why="Blocks are ordered by the rate, and the board draws curves over it.",
    fix="use the argument rate, not a setting",
)
def rate_grows(plugin: PluginUnderTest) -> str:
    """Count changes at three rates."""
    data = clean(3000)
    shares = [float((corrupted(plugin, data, r) != data.labels).mean()) for r in (0.1, 0.25, 0.4)]
    text = ", ".join(f"{share:.3f}" for share in shares)
    if not shares[0] < shares[1] < shares[2]:
        raise Violation(f"at rates 0.1, 0.25 and 0.4 the shares of changed labels are {text}")
    return f"changed at rates 0.1, 0.25, 0.4: {text}"


@rule(
    expects="it works with two classes, or refuses them in one line",
    why="Half of the medical datasets have two classes.",
    fix="raise MedbenchError in transition_matrix if two classes are not possible",
)
def two_classes(plugin: PluginUnderTest) -> None:
    """Draw with two classes."""
    data = clean(num_classes=2)
    check_labels(corrupted(plugin, data, 0.2), data)


@rule(
    expects="it works if a class has no sample",
    why="A subset of a long-tailed dataset may have no sample of the rarest class.",
    fix="guard means over a class's samples; take K from data.num_classes",
)
def missing_class(plugin: PluginUnderTest) -> None:
    """Draw where the last of three classes is absent."""
    data = clean(classes=2)
    check_labels(corrupted(plugin, data, 0.2), data)


@rule(
    expects="it works with one sample",
    why="A validation split may be that small.",
    fix="no squeeze() without an axis; guard standard deviations of one value",
)
def one_sample(plugin: PluginUnderTest) -> None:
    """Draw for one sample."""
    data = clean(1)
    check_labels(corrupted(plugin, data, 0.2), data)


@rule(
    expects="it works with grey images (C = 1) and with colour (C = 3)",
    why="X-rays are grey, histology is not; noise that uses images must accept both.",
    fix="take the number of channels from data.images.shape",
)
def grey_and_colour(plugin: PluginUnderTest) -> None:
    """Draw with images of one and of three channels."""
    for channels in (1, 3):
        data = clean(channels=channels)
        check_labels(corrupted(plugin, data, 0.2), data)

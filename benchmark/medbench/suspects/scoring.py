"""Scores of all images of a dataset: how probable it is that a label is wrong.

The rule, in the order of its steps:

1. Cheap models that never see an image's own label, nor those of its group, give each image
   shares of the classes: kernel ridge regressions on small pixels, on patches learned without
   labels (where in the image, and anywhere), and the labels of the nearest images.
2. A label model weights them and estimates how often labels of each class are wrong
   (:mod:`medbench.suspects.label_model`); it gives each image the probability of each class.
3. The models are asked again, with those probabilities in place of the given labels, and the
   label model is fitted again. An image's own label took part in the probabilities of others, so
   that a trace of it returns in this round.
4. Identical images share one class.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medbench.data.duplicates import joined
from medbench.engine.streams import numpy_stream
from medbench.suspects.features import patch_features, pixel_features, reduced
from medbench.suspects.label_model import LabelModel, fit_label_model
from medbench.suspects.leave_out import fit
from medbench.suspects.neighbours import neighbours, votes
from medbench.suspects.plan import Plan

Floats = NDArray[np.float64]

#: Times the models are asked.
_ROUNDS = 2

#: Probability from which on a label counts as certainly wrong.
_CERTAIN = 0.99

#: Least share of a class, before its logarithm is taken.
_LEAST = 0.01

#: Called with the share of the work that is done.
Report = Callable[[float], None]


@dataclass(frozen=True)
class Scores:
    """What is known of the labels of N images of K classes.

    Parameters
    ----------
    probabilities : ndarray of float64, shape (N, K)
        Probability of each class, given the image, the other images and all labels.
    probability_wrong : ndarray of float64, shape (N,)
        Probability that the given label is wrong.
    suggested : ndarray of int64, shape (N,)
        The most probable class that is not the given one.
    opinions : mapping of str to ndarray of float64, shape (N, K)
        Shares of the classes by model, without the image's own label.
    nearest : ndarray of int64, shape (N, n)
        Rows of the nearest images.
    wrong : float
        How many labels are wrong, estimated.
    bounds : (int, int)
        Labels that are wrong with a probability above .99, and labels that are not the class
        which the models, without the image's own label, find most probable.
    """

    probabilities: Floats
    probability_wrong: Floats
    suggested: NDArray[np.int64]
    opinions: dict[str, Floats]
    nearest: NDArray[np.int64]
    wrong: float
    bounds: tuple[int, int]


def scores(
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    num_classes: int,
    *,
    groups: Sequence[str] | None = None,
    copies: NDArray[np.int64] | None = None,
    plan: Plan | None = None,
    seed: int = 0,
    report: Report = lambda share: None,
) -> Scores:
    """Score the labels of images.

    Parameters
    ----------
    images : ndarray of uint8, shape (N, H, W, C)
        Images; more pixels than ``plan.side`` a side are averaged.
    labels : ndarray of int64, shape (N,)
        Given labels, 0 to K-1.
    num_classes : int
        Number of classes K.
    groups : sequence of str, optional
        Patient or slide of each image, ``""`` where unknown. No image is scored by labels of
        its own group.
    copies : ndarray of int64, shape (N,), optional
        The same number for identical images. Default: none are.
    plan : Plan, optional
        Sizes of the models. Default: as ``medbench suspects`` for this number of images.
    seed : int
        Seed of the streams of random numbers.
    report : callable
        Called with the share of the work that is done.

    Returns
    -------
    Scores
        The same input gives the same scores.
    """
    count = len(labels)
    plan = plan or Plan.within(count)
    copies = np.arange(count) if copies is None else copies
    group_of = _joined(groups, copies)
    members = _members(group_of)
    models, nearest = _models(images, plan, seed, group_of, members, report)
    given = np.eye(num_classes, dtype=np.float32)[labels]
    targets, label_model = given, None
    for turn in range(_ROUNDS):
        shares = {name: model(targets) for name, model in models.items()}
        opinions = np.log(np.maximum(np.stack(list(shares.values())), _LEAST)).astype(np.float64)
        label_model = fit_label_model(opinions, labels, label_model)
        targets = label_model.posterior(opinions, labels).astype(np.float32)
        report(0.75 + 0.1 * turn)
    assert label_model is not None
    probabilities = _shared(label_model, opinions, labels, copies)
    wrong = 1 - probabilities[np.arange(count), labels]
    others = np.where(given > 0, -1, probabilities)
    disputed = label_model.shares(opinions).argmax(axis=1) != labels
    report(1)
    return Scores(
        probabilities,
        wrong,
        others.argmax(axis=1),
        {name: share.astype(np.float64) for name, share in shares.items()},
        nearest,
        float(wrong.sum()),
        (int((wrong > _CERTAIN).sum()), int(disputed.sum())),
    )


def _models(
    images: NDArray[np.uint8],
    plan: Plan,
    seed: int,
    group_of: NDArray[np.int64],
    members: list[NDArray[np.int64]],
    report: Report,
) -> tuple[dict[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]], NDArray[np.int64]]:
    """Return the models, each a function of targets, and the nearest images."""
    count = len(images)
    rng = numpy_stream(seed, "suspects-landmarks")
    landmarks = np.sort(rng.permutation(count)[: plan.landmarks])
    pixels = pixel_features(reduced(images, plan.pixels))
    pixel_model = fit(pixels, landmarks, plan.ridge, members)
    report(0.15)
    parts, whole = patch_features(reduced(images, plan.side), plan.filters, seed)
    report(0.45)
    part_model = fit(parts, landmarks, plan.ridge, members)
    whole_model = fit(whole, landmarks, plan.ridge, members)
    report(0.6)
    largest = max(map(len, members), default=1)
    nearest = neighbours(whole, max(1, min(plan.neighbours, count - largest)), group_of)
    report(0.65)
    return {
        "pixels": pixel_model.predict,
        "patches by place": part_model.predict,
        "patches": whole_model.predict,
        "neighbours": lambda targets: votes(nearest, targets),
    }, nearest


def _joined(groups: Sequence[str] | None, copies: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the number of each image's group: its patient's, joined with its copies'."""
    patients = [""] * len(copies) if groups is None else groups
    names = zip(copies.tolist(), patients, strict=True)
    return np.array(joined([[copy, patient] if patient else [copy] for copy, patient in names]))


def _members(group_of: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return the rows of each group of more than one image."""
    order = np.argsort(group_of, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(group_of[order])) + 1)
    return [part for part in parts if len(part) > 1]


def _shared(
    model: LabelModel, opinions: Floats, labels: NDArray[np.int64], copies: NDArray[np.int64]
) -> Floats:
    """Return the probability of each class; identical images have the same class."""
    found = model.posterior(opinions, labels)
    for rows in _members(copies):
        shares = np.log(model.shares(opinions[:, rows])).mean(axis=0)
        joint = shares + np.log(model.noise[:, labels[rows]]).sum(axis=1)
        joint = np.exp(joint - joint.max())
        found[rows] = joint / joint.sum()
    return found

"""From several models' opinions and the given labels to the probability that a label is wrong.

The true class k of image i has the probability s_ik = softmax_k(b_k + sum_m w_m log p_mik), a
logarithmic pool of the models' out-of-fold shares p_m. Its given label is j with the probability
T_kj. Weights w, offsets b and noise matrix T are those of largest likelihood of the given
labels, found by expectation maximisation; this is the label-noise-robust logistic regression of
Bootkrajang and Kabán 2012, with the models' opinions as features. A prior pulls T towards wrong
labels of any other class at one rate, which is estimated too. By Bayes' rule the class of
image i is k with the probability s_ik T_kj / sum_l s_il T_lj.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

Floats = NDArray[np.float64]

#: Prior counts of labels that are right, and wrong, of all classes.
_PRIOR_RIGHT, _PRIOR_WRONG = 20.0, 1.0

#: Images, as a share of all, that pull each row of T to the same rate of all classes.
_SHARED = 0.3

#: Strength, in images, of the prior that pulls offsets to 0 and weights to a sum of _SHARP: the
#: pool is sharper than each model, which has learned from wrong labels, too.
_PULL, _SHARP = 3.0, 3.0

_STEPS = 25


@dataclass(frozen=True)
class LabelModel:
    """Weights (M,), offsets (K,), and noise matrix (K, K) with true classes as rows."""

    weights: Floats
    offsets: Floats
    noise: Floats

    def shares(self, opinions: Floats) -> Floats:
        """Return the classes' probabilities (N, K) without the given labels."""
        scores = np.einsum("mnk,m->nk", opinions, self.weights) + self.offsets
        scores -= scores.max(axis=1, keepdims=True)
        shares = np.exp(scores)
        return np.asarray(shares / shares.sum(axis=1, keepdims=True))

    def posterior(self, opinions: Floats, labels: NDArray[np.int64]) -> Floats:
        """Return the classes' probabilities (N, K), knowing the given labels."""
        joint = self.shares(opinions) * self.noise[:, labels].T
        return np.asarray(joint / joint.sum(axis=1, keepdims=True))


def fit_label_model(
    opinions: Floats,
    labels: NDArray[np.int64],
    start: LabelModel | None = None,
) -> LabelModel:
    """Fit by expectation maximisation.

    Parameters
    ----------
    opinions : ndarray of float64, shape (M, N, K)
        Logarithms of the models' shares.
    labels : ndarray of int64, shape (N,)
        Given labels.
    start : LabelModel, optional
        Where to start; default: equal weights and few wrong labels.
    """
    models, images, classes = opinions.shape
    given = np.eye(classes)[labels]
    few = _PRIOR_WRONG / (_PRIOR_RIGHT + _PRIOR_WRONG)
    model = start or LabelModel(
        np.full(models, _SHARP / models), np.zeros(classes), _symmetric(few, classes)
    )
    for _ in range(_STEPS):
        posterior = model.posterior(opinions, labels)
        noise = posterior.T @ given
        wrong = noise.sum() - noise.trace() + _PRIOR_WRONG
        rate = wrong / (noise.sum() + _PRIOR_RIGHT + _PRIOR_WRONG)
        noise += _SHARED * images * _symmetric(rate, classes)
        model = replace(model, noise=noise / noise.sum(axis=1, keepdims=True))
        model = _pooled(model, opinions, posterior)
    return model


def _symmetric(rate: float, classes: int) -> Floats:
    """Return the noise matrix whose wrong labels are of any other class."""
    other = rate / max(1, classes - 1)
    return np.full((classes, classes), other) + (1 - rate - other) * np.eye(classes)


def _pooled(model: LabelModel, opinions: Floats, classes: Floats) -> LabelModel:
    """Return the model with the weights and offsets that explain the classes best."""
    models = len(opinions)

    def loss(values: Floats) -> tuple[float, Floats]:
        tried = replace(model, weights=values[:models], offsets=values[models:])
        shares = tried.shares(opinions)
        error = shares - classes
        pulled = np.concatenate([values[:models] - _SHARP / models, values[models:]])
        slope = np.concatenate([np.einsum("mnk,nk->m", opinions, error), error.sum(axis=0)])
        fit = -float((classes * np.log(shares + 1e-300)).sum())
        return fit + _PULL / 2 * float(pulled @ pulled), slope + _PULL * pulled

    start = np.concatenate([model.weights, model.offsets])
    bounds = [(0.0, None)] * models + [(None, None)] * len(model.offsets)
    found = minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 8}
    ).x
    return replace(model, weights=found[:models], offsets=found[models:])

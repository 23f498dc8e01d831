"""How many labels are wrong, estimated from the noisy labels alone.

Confident learning (Northcutt, Jiang, Chuang 2021, JAIR 70, arXiv 1911.00068).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medbench.interfaces.confident import confident_joint
from medbench.interfaces.method import LearningTask
from medbench_plugins.methods.mixmatch import mean_probability


def rate_of(joint: NDArray[np.int64], labels: NDArray[np.integer]) -> float:
    r"""Return the share of wrong labels that a confident joint implies.

    .. math:: \hat\rho = 1 - \sum_k \frac{|X_k|}{N} \frac{C_{kk}}{\sum_j C_{kj}}

    the mass off the diagonal of the source's calibrated joint distribution.

    Parameters
    ----------
    joint : ndarray of int64, shape (K, K)
        C.
    labels : ndarray of int, shape (N,)
        Noisy labels.

    Returns
    -------
    float
        In [0, 1]. A class none of whose samples is counted gives no evidence of
        a wrong label and adds none [I]; 0 for no samples.
    """
    if len(labels) == 0:
        return 0.0
    counted = joint.sum(axis=1)
    wrong = counted - np.diag(joint)
    shares = np.divide(wrong, counted, out=np.zeros(len(joint)), where=counted > 0)
    weights = np.bincount(labels, minlength=len(joint)) / len(labels)
    return float(weights @ shares)


@torch.no_grad()
def training_probabilities(task: LearningTask, networks: Sequence[nn.Module]) -> Tensor:
    """Return the networks' mean probabilities of the training images as they are.

    Parameters
    ----------
    task : LearningTask
        Holds the images.
    networks : sequence of torch.nn.Module
        They are left in eval mode.

    Returns
    -------
    torch.Tensor of float32, shape (N, K)
        Rows sum to 1.
    """
    for network in networks:
        network.eval()
    predicted = torch.empty((len(task.train), task.num_classes), device=task.device)
    for batch in task.train.plain_batches(2 * task.batch_size):
        with task.autocast():
            logits = [network(batch.images) for network in networks]
        predicted[batch.indices] = mean_probability(logits)
    return predicted


def estimate_noise_rate(task: LearningTask, networks: Sequence[nn.Module]) -> float:
    """Estimate the share of wrong training labels from what networks predict for them.

    The source takes predictions from cross-validation. Here they come from the
    networks that are being trained, on their own training images as they are,
    in eval mode, early in training [I]: K-fold training would multiply the
    budget, and networks learn what is consistent before they memorise (Arpit et
    al. 2017). The estimate is therefore too high where the task is hard, as
    hard samples look mislabelled, and too low once labels are memorised.

    Parameters
    ----------
    task : LearningTask
        Only training images and noisy labels are looked at; the oracle is not
        asked.
    networks : sequence of torch.nn.Module
        Their mean probability is the prediction. They are left in eval mode.

    Returns
    -------
    float
        In [0, 1].
    """
    given = task.train.labels.cpu().numpy()
    predicted = training_probabilities(task, networks).cpu().numpy()
    return rate_of(confident_joint(predicted, given), given)

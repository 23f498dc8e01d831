r"""Losses that resist wrong labels, one value a sample.

B is the batch size, K the number of classes, p = softmax(z), y the noisy label.
"""

from __future__ import annotations

import torch
from torch import Tensor


def log_probability(logits: Tensor, labels: Tensor) -> Tensor:
    r"""Return :math:`\log p_y` of logits (B, K) and labels (B,), shape (B,)."""
    return logits.log_softmax(dim=1).gather(1, labels[:, None]).squeeze(1)


def generalised_cross_entropy(logits: Tensor, labels: Tensor, q: float) -> Tensor:
    r"""Return :math:`(1 - p_y^q) / q` (Zhang and Sabuncu 2018, arXiv 1805.07836).

    Parameters
    ----------
    logits : torch.Tensor, shape (B, K)
        Outputs z.
    labels : torch.Tensor of int64, shape (B,)
        Noisy labels y.
    q : float
        In (0, 1]; towards 0 the loss becomes cross-entropy, at 1 it is the absolute error.

    Returns
    -------
    torch.Tensor, shape (B,)
        In [0, 1 / q].
    """
    # expm1 keeps the digits that 1 - p^q loses where p_y is near 1
    return -torch.expm1(q * log_probability(logits, labels)) / q


def reverse_cross_entropy(logits: Tensor, labels: Tensor, log_zero: float) -> Tensor:
    r"""Return :math:`-\sum_k p_k \log y_k = -A (1 - p_y)` (Wang et al. 2019, arXiv 1908.06112).

    Parameters
    ----------
    logits : torch.Tensor, shape (B, K)
        Outputs z.
    labels : torch.Tensor of int64, shape (B,)
        Noisy labels y.
    log_zero : float
        A < 0, the value used for log 0.

    Returns
    -------
    torch.Tensor, shape (B,)
        In [0, -A].
    """
    return log_zero * torch.expm1(log_probability(logits, labels))


def normalised_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    r"""Return :math:`\log p_y / \sum_k \log p_k` (Ma et al. 2020, arXiv 2006.13554).

    Parameters
    ----------
    logits : torch.Tensor, shape (B, K)
        Outputs z.
    labels : torch.Tensor of int64, shape (B,)
        Noisy labels y.

    Returns
    -------
    torch.Tensor, shape (B,)
        In [0, 1].
    """
    return log_probability(logits, labels) / logits.log_softmax(dim=1).sum(dim=1)


def forward_cross_entropy(logits: Tensor, labels: Tensor, matrix: Tensor) -> Tensor:
    r"""Return :math:`-\log (T^\top p)_y` (Patrini et al. 2017, arXiv 1609.03683).

    Parameters
    ----------
    logits : torch.Tensor, shape (B, K)
        Outputs z.
    labels : torch.Tensor of int64, shape (B,)
        Noisy labels y.
    matrix : torch.Tensor, shape (K, K)
        T, where T[i, j] = P(noisy = j | true = i).

    Returns
    -------
    torch.Tensor, shape (B,)
        At least 0. In logarithms, so that a p that rounds to 0 has a gradient; entries of T
        below 1e-8 are taken for 1e-8.
    """
    log_given = matrix.clamp(min=1e-8).log().T[labels]
    return -(logits.log_softmax(dim=1) + log_given).logsumexp(dim=1)


def masked_mean(losses: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of ``losses`` (B,) where ``mask`` (B,) is true; 0 where it never is."""
    return torch.where(mask, losses, 0.0).sum() / mask.sum().clamp(min=1)

"""The semi-supervised half of DivideMix, as small functions.

Li et al. 2020, arXiv 2002.07394, sections 3.2 and 3.3; mix-up as in MixMatch
(Berthelot et al. 2019, arXiv 1905.02249). B is the batch size and K the number
of classes throughout.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def sharpen(probabilities: Tensor, temperature: float) -> Tensor:
    r"""Return :math:`p_c^{1/T} / \sum_k p_k^{1/T}`.

    Computed as softmax(log p / T), which is the same number but cannot become
    0 / 0 when a small T makes every power vanish.

    Parameters
    ----------
    probabilities : torch.Tensor, shape (B, K)
        Rows with at least one entry above 0.
    temperature : float
        T > 0; below 1 it makes the rows more certain.

    Returns
    -------
    torch.Tensor, shape (B, K)
        Rows sum to 1.
    """
    return (probabilities.log() / temperature).softmax(dim=1)


def mean_probability(logits: Sequence[Tensor]) -> Tensor:
    r"""Return :math:`\frac{1}{M} \sum_m \mathrm{softmax}(z_m)`.

    Parameters
    ----------
    logits : sequence of M torch.Tensor, each (B, K)
        Outputs for the same samples, of different views or networks.

    Returns
    -------
    torch.Tensor of float32, shape (B, K)
        Rows sum to 1.
    """
    return torch.stack([z.float().softmax(dim=1) for z in logits]).mean(dim=0)


def co_refine(
    labels: Tensor, clean_probability: Tensor, guess: Tensor, temperature: float
) -> Tensor:
    r"""Return refined targets of labelled samples: :math:`\mathrm{sharpen}(w y + (1-w) p, T)`.

    Parameters
    ----------
    labels : torch.Tensor of int64, shape (B,)
        Noisy labels y.
    clean_probability : torch.Tensor of float, shape (B,)
        w, from the OTHER network's mixture.
    guess : torch.Tensor, shape (B, K)
        p, this network's mean prediction over the views.
    temperature : float
        T.

    Returns
    -------
    torch.Tensor, shape (B, K)
        Rows sum to 1.
    """
    w = clean_probability.to(guess.dtype).unsqueeze(1)
    y = F.one_hot(labels, guess.shape[1]).to(guess.dtype)
    return sharpen(w * y + (1.0 - w) * guess, temperature)


def co_guess(logits: Sequence[Tensor], temperature: float) -> Tensor:
    """Return guessed targets of unlabelled samples: both networks' mean, sharpened.

    Parameters
    ----------
    logits : sequence of torch.Tensor, each (B, K)
        Outputs of both networks for every view.
    temperature : float
        T.

    Returns
    -------
    torch.Tensor, shape (B, K)
        Rows sum to 1.
    """
    return sharpen(mean_probability(logits), temperature)


def mix_up(images: Tensor, targets: Tensor, order: Tensor, share: float) -> tuple[Tensor, Tensor]:
    r"""Return :math:`l a + (1 - l) a_\pi` for images and targets alike.

    Parameters
    ----------
    images : torch.Tensor, shape (M, C, H, W)
        Labelled samples' views first, then unlabelled ones'.
    targets : torch.Tensor, shape (M, K)
        Their targets.
    order : torch.Tensor of int64, shape (M,)
        The permutation pi: who is mixed in.
    share : float
        l; with l >= 1/2 each row stays mostly what it was, so that the first
        rows can go on counting as labelled.

    Returns
    -------
    images, targets : torch.Tensor
        As the arguments.
    """
    return torch.lerp(images[order], images, share), torch.lerp(targets[order], targets, share)


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    r"""Return :math:`L_x = -\frac{1}{B} \sum_i \sum_c q_{ic} \log \mathrm{softmax}(z_i)_c`.

    Parameters
    ----------
    logits, targets : torch.Tensor, shape (B, K)
        z and q.

    Returns
    -------
    torch.Tensor
        Scalar.
    """
    return -(targets * logits.log_softmax(dim=1)).sum(dim=1).mean()


def squared_error(logits: Tensor, targets: Tensor) -> Tensor:
    r"""Return :math:`L_u = \frac{1}{B K} \sum_{i,c} (\mathrm{softmax}(z_i)_c - q_{ic})^2`.

    The paper's formula divides by B alone; the reference by B K, and its
    lambda_u belongs to that [R].

    Parameters
    ----------
    logits, targets : torch.Tensor, shape (B, K)
        z and q.

    Returns
    -------
    torch.Tensor
        Scalar.
    """
    return F.mse_loss(logits.softmax(dim=1), targets)


def prior_penalty(logits: Tensor, prior: Tensor) -> Tensor:
    r"""Return :math:`L_{reg} = \sum_c \pi_c \log(\pi_c / \bar p_c)`.

    Keeps a network from putting all samples into one class. The mean prediction
    is taken in logarithms: a class that is never predicted would otherwise give log 0.

    Parameters
    ----------
    logits : torch.Tensor, shape (B, K)
        Outputs for labelled and unlabelled samples together.
    prior : torch.Tensor, shape (K,)
        Class shares pi; their sum is 1, and a share may be 0.

    Returns
    -------
    torch.Tensor
        Scalar, 0 when the mean prediction is the prior, larger otherwise.
    """
    log_mean = logits.log_softmax(dim=1).logsumexp(dim=0) - math.log(len(logits))
    return (torch.xlogy(prior, prior) - prior * log_mean).sum()


def negative_entropy(logits: Tensor) -> Tensor:
    r"""Return :math:`-H = \frac{1}{B} \sum_i \sum_c p_{ic} \log p_{ic}`.

    Added to the warm-up loss under asymmetric noise, where a network grows
    certain too early and all losses become small.

    Parameters
    ----------
    logits : torch.Tensor, shape (B, K)
        Outputs.

    Returns
    -------
    torch.Tensor
        Scalar, between -log K and 0.
    """
    log_p = logits.log_softmax(dim=1)
    return (log_p.exp() * log_p).sum(dim=1).mean()

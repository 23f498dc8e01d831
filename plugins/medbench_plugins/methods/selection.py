"""Co-teaching's small-loss selection (Han et al. 2018, arXiv 1804.06872, algorithm 1)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def kept_count(forget_rate: float, batch_size: int) -> int:
    r"""Return :math:`\lfloor (1 - R) B \rfloor`, but at least 1.

    Parameters
    ----------
    forget_rate : float
        R in [0, 1].
    batch_size : int
        B, at least 1.

    Returns
    -------
    int
        In [1, B].

    Notes
    -----
    In floating point (1 - 0.8) * 10 is 1.9999999999999996; cutting that off
    would lose a sample of every batch, so the product is lifted by a margin far
    below 1 / B first. A mean over no samples is undefined, so at least 1.
    """
    return max(1, math.floor((1.0 - forget_rate) * batch_size + 1e-9))


def small_loss(losses: Tensor, keep: int) -> Tensor:
    """Return the positions of the ``keep`` smallest losses.

    Parameters
    ----------
    losses : torch.Tensor, shape (B,)
        One loss a sample. NaN counts as larger than any number.
    keep : int
        How many to keep.

    Returns
    -------
    torch.Tensor of int64, shape (keep,)
        Positions in the batch, smallest loss first; among equal losses the
        earlier sample, so that the choice does not depend on the device.
    """
    return torch.sort(losses.detach(), stable=True).indices[:keep]


def keep_own(logits: Tensor, labels: Tensor, forget_rate: float) -> tuple[Tensor, Tensor]:
    r"""Return a network's loss on what it kept itself.

    .. math:: L = \frac{1}{|D|} \sum_{i \in D} \ell(i)

    where D are the samples with the smallest loss.

    Parameters
    ----------
    logits : torch.Tensor, shape (B, K)
        Outputs.
    labels : torch.Tensor of int64, shape (B,)
        Noisy labels.
    forget_rate : float
        R(t), the share of the batch to drop.

    Returns
    -------
    loss : torch.Tensor, scalar
        What the network minimises.
    kept : torch.Tensor of int64, shape (k,)
        D: positions in the batch.
    """
    losses = F.cross_entropy(logits.float(), labels, reduction="none")
    kept = small_loss(losses, kept_count(forget_rate, len(labels)))
    return losses[kept].mean(), kept


def exchange(
    logits_1: Tensor, logits_2: Tensor, labels: Tensor, forget_rate: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    r"""Return both networks' losses on what the OTHER network kept.

    .. math:: L_1 = \frac{1}{|D_2|} \sum_{i \in D_2} \ell_1(i), \qquad
              L_2 = \frac{1}{|D_1|} \sum_{i \in D_1} \ell_2(i)

    where D_m are the samples with the smallest loss under network m. The mean is
    taken once.

    Parameters
    ----------
    logits_1, logits_2 : torch.Tensor, shape (B, K)
        Outputs of the two networks.
    labels : torch.Tensor of int64, shape (B,)
        Noisy labels.
    forget_rate : float
        R(t), the share of the batch to drop.

    Returns
    -------
    loss_1, loss_2 : torch.Tensor, scalars
        What each network minimises.
    kept_1, kept_2 : torch.Tensor of int64, shape (k,)
        D_1 and D_2: positions each network kept, to be learned by its peer.
    """
    losses_1 = F.cross_entropy(logits_1.float(), labels, reduction="none")
    losses_2 = F.cross_entropy(logits_2.float(), labels, reduction="none")
    keep = kept_count(forget_rate, len(labels))
    kept_1 = small_loss(losses_1, keep)
    kept_2 = small_loss(losses_2, keep)
    return losses_1[kept_2].mean(), losses_2[kept_1].mean(), kept_1, kept_2

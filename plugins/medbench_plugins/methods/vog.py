"""Variance of Gradients (VOG) of the last layer, in closed form (Khanal et al. 2024)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medbench.interfaces.method import LearningTask
from medbench_plugins.methods.selection import small_loss


def label_gradients(features: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    r"""Return the gradient of each sample's loss by the last layer's row of its label.

    .. math:: \frac{\partial \ell_i}{\partial (w_{y_i}, b_{y_i})} = (p_{y_i} - 1) (h_i, 1)

    for the cross-entropy of :math:`z = W h + b`.

    Parameters
    ----------
    features : torch.Tensor, shape (B, D)
        h, the inputs of the last layer.
    logits : torch.Tensor, shape (B, K)
        z.
    labels : torch.Tensor of int64, shape (B,)
        y.

    Returns
    -------
    torch.Tensor of float32, shape (B, D + 1)
        By weight, then by the bias.
    """
    probability = logits.float().softmax(dim=1).gather(1, labels[:, None])
    ones = torch.ones_like(probability)
    return (probability - 1) * torch.cat([features.float(), ones], dim=1)


def variance_of_gradients(history: Sequence[Tensor]) -> Tensor:
    """Return the standard deviation over epochs, averaged over parameters.

    Parameters
    ----------
    history : sequence of torch.Tensor, each (N, P)
        Gradients of the same samples in several epochs.

    Returns
    -------
    torch.Tensor, shape (N,)
        At least 0; low where the gradient is stable, as of clean samples.
    """
    return torch.stack(list(history)).std(dim=0, correction=0).mean(dim=1)


def small_loss_and_vog(losses: Tensor, vog: Tensor, keep: int, share: float) -> Tensor:
    r"""Return the positions of ``keep`` samples: by loss, and a share of them by VOG.

    :math:`\lfloor m k \rfloor` are those of lowest VOG among the samples that are not among the
    :math:`k - \lfloor m k \rfloor` of smallest loss. The released code truncates both counts,
    which loses a sample.

    Parameters
    ----------
    losses, vog : torch.Tensor, shape (B,)
        Of each sample.
    keep : int
        k, at most B.
    share : float
        m in [0, 1].

    Returns
    -------
    torch.Tensor of int64, shape (k,)
        Positions in the batch, without repetition; among equals the earlier sample.
    """
    by_vog = int(share * keep + 1e-9)
    by_loss = small_loss(losses, keep - by_vog)
    rest = vog.clone()
    rest[by_loss] = torch.inf
    return torch.cat([by_loss, small_loss(rest, by_vog)])


@torch.no_grad()
def training_gradients(task: LearningTask, network: nn.Module) -> Tensor:
    """Return :func:`label_gradients` of all training images as they are, in eval mode.

    Parameters
    ----------
    task : LearningTask
        Holds the images.
    network : torch.nn.Module
        Its last linear layer is the one meant. It is left in eval mode.

    Returns
    -------
    torch.Tensor of float32, shape (N, D + 1)
        In the order of the training set.
    """
    network.eval()
    head = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    inputs: list[Tensor] = []
    found = []
    with head.register_forward_pre_hook(lambda _, given: inputs.append(given[0])):
        for batch in task.train.plain_batches(2 * task.batch_size):
            with task.autocast():
                logits = network(batch.images)
            found.append(label_gradients(inputs.pop(), logits, batch.labels))
    return torch.cat(found)

"""Forward correction of the loss (Patrini et al. 2017, CVPR, arXiv 1609.03683)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from medbench.errors import MedbenchError
from medbench.interfaces.method import Batch, EpochReport, LearningTask
from medbench_plugins.methods.estimation import training_probabilities
from medbench_plugins.methods.loss_settings import ForwardSettings
from medbench_plugins.methods.losses import forward_cross_entropy
from medbench_plugins.methods.ramps import warmup_length
from medbench_plugins.methods.single import OneNetwork

#: Samples likelier than this quantile are left out as outliers [R].
QUANTILE = 0.97


class Forward(OneNetwork):
    r"""Minimises :math:`-\frac{1}{B} \sum_i \log (T^\top p_i)_{y_i}`: p learns the true classes.

    T[i, j] = P(noisy = j | true = i) is the true matrix of the noise, asked of the
    oracle: an upper bound for methods that estimate it. Or it is estimated after a
    warm-up with cross-entropy: row i is the network's prediction for the sample with the
    largest probability of class i [P], after the largest 3 % are left out [R].
    The source then trains a new network; here the same one continues, as both phases
    share one budget [I].

    Raises
    ------
    medbench.errors.MedbenchError
        While training, if T is asked for and the noise has no transition matrix.
    """

    Settings = ForwardSettings
    settings: ForwardSettings
    asks = ("transition_matrix",)

    def start(self, task: LearningTask) -> None:
        """Build the network; T is the identity until it is known."""
        super().start(task)
        estimated = self.settings.matrix == "estimate"
        self.known_from = warmup_length(self.settings.warmup_epochs, task.epochs) * estimated
        self.matrix = torch.eye(task.num_classes, device=task.device)

    def train_epoch(self, epoch: int) -> EpochReport:
        """Ask for T or estimate it if it is time, then train on every sample once."""
        if epoch == self.known_from:
            self.matrix = self._estimate() if self.known_from else self._ask()
        return EpochReport(loss=self.train_once(epoch))

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return the corrected cross-entropy; with the identity for T it is cross-entropy."""
        return forward_cross_entropy(logits, batch.labels, self.matrix).mean()

    def _ask(self) -> Tensor:
        matrix = self.task.oracle.transition_matrix()
        if matrix is None:
            raise MedbenchError(
                f"method {self.name!r}: the noise of this run has no transition matrix; choose "
                "another noise model, or set matrix = 'estimate'"
            )
        return torch.from_numpy(matrix.astype(np.float32)).to(self.task.device)

    def _estimate(self) -> Tensor:
        return anchor_matrix(training_probabilities(self.task, [self.network]))


def anchor_matrix(probabilities: Tensor) -> Tensor:
    """Return the transition matrix read from the predictions for near-certain samples.

    Parameters
    ----------
    probabilities : torch.Tensor, shape (N, K)
        Predictions of the noisy labels.

    Returns
    -------
    torch.Tensor, shape (K, K)
        Row i is the row of ``probabilities`` at the 97 % quantile of column i, the lower
        neighbour where it lies between two samples [I].
    """
    position = int(QUANTILE * (len(probabilities) - 1))
    anchors = torch.sort(probabilities, dim=0, stable=True).indices[position]
    return probabilities[anchors]

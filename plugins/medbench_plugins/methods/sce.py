"""Symmetric cross-entropy (Wang et al. 2019, ICCV) and NCE+RCE (Ma et al. 2020, ICML)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from medbench.interfaces.method import Batch
from medbench_plugins.methods.loss_settings import SCESettings
from medbench_plugins.methods.losses import normalised_cross_entropy, reverse_cross_entropy
from medbench_plugins.methods.single import OneNetwork


class SCE(OneNetwork):
    r"""Minimises :math:`\alpha\, CE + \beta\, RCE`, or :math:`\alpha\, NCE + \beta\, RCE`.

    :math:`RCE = -A (1 - p_y)` is cross-entropy with label and prediction exchanged, where
    log 0 is A (arXiv 1908.06112); :math:`NCE = \log p_y / \sum_k \log p_k` (arXiv
    2006.13554), with preset ``nce-rce``.
    """

    Settings = SCESettings
    settings: SCESettings

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return the weighted sum, averaged over the batch."""
        settings, labels = self.settings, batch.labels
        if settings.normalised:
            active = normalised_cross_entropy(logits, labels)
        else:
            active = F.cross_entropy(logits, labels, reduction="none")
        passive = reverse_cross_entropy(logits, labels, settings.log_zero)
        return (settings.alpha * active + settings.beta * passive).mean()

"""Selection by agreement with a linear probe (CUFIT: Yu et al. 2024, NeurIPS, arXiv 2412.00150)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medbench.interfaces.method import EpochReport, LearningTask, LNLMethod
from medbench_plugins.methods.averages import DeviceMean
from medbench_plugins.methods.losses import masked_mean
from medbench_plugins.methods.selection_settings import AgreementSettings


def freeze_backbone(network: nn.Module) -> None:
    """Leave only the head, which is the last linear layer, to be trained."""
    network.requires_grad_(False)
    head = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    head.requires_grad_(True)


class Agreement(LNLMethod):
    """A linear probe selects for a network, which selects for a second one.

    In each mini-batch a linear head on the frozen (pretrained) backbone learns every
    sample by cross-entropy. Network 1 learns the samples whose label is the most likely
    class of the probe, network 2 those whose label is the most likely class of network 1.
    Network 2 predicts. No rate and no threshold is needed; what is needed is a backbone
    whose features separate the classes, since a linear head on them can hardly memorise.

    The source trains adapters of a foundation model; here whole networks are trained [I].
    Batch normalisation in the frozen backbone uses the statistics of the batch [I], so that
    features have a scale without pretraining too, where they are random and networks 1 and
    2 start from other weights.

    ``EpochReport.selected[m]`` marks the samples that network m + 1 learned.
    """

    Settings = AgreementSettings
    settings: AgreementSettings

    def start(self, task: LearningTask) -> None:
        """Build the probe and two networks, and their optimisers."""
        self.task = task
        self.networks = [task.make_network(index) for index in range(3)]
        freeze_backbone(self.networks[0])
        self.optimisers = [
            task.make_optimiser(network, self.settings.optimiser) for network in self.networks
        ]

    def train_epoch(self, epoch: int) -> EpochReport:
        """Train all three on each batch."""
        task = self.task
        for network, optimiser in zip(self.networks, self.optimisers, strict=True):
            network.train()
            optimiser.start_epoch(epoch)
        mean = DeviceMean(task.device)
        selected = torch.zeros((2, len(task.train)), dtype=torch.bool, device=task.device)
        for batch in task.train.batches(task.batch_size, task.rng("train", epoch)):
            with task.autocast():
                logits = [network(batch.images).float() for network in self.networks]
            agrees = [z.argmax(dim=1) == batch.labels for z in logits[:2]]
            learned = [torch.ones_like(agrees[0]), *agrees]
            for z, mask, optimiser in zip(logits, learned, self.optimisers, strict=True):
                loss = masked_mean(F.cross_entropy(z, batch.labels, reduction="none"), mask)
                optimiser.step(loss)
            selected[:, batch.indices] = torch.stack(agrees)
            mean.add(loss, len(batch.labels))
        return EpochReport(loss=mean.read(), selected=selected.cpu().numpy())

    def predict(self, images: Tensor) -> Tensor:
        """Return the probabilities of network 2, shape (B, K)."""
        network = self.networks[2].eval()
        with self.task.autocast():
            logits: Tensor = network(images)
        return logits.float().softmax(dim=1)

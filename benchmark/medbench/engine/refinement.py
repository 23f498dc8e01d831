"""Active refinement: labels are bought in rounds, and the networks are fine-tuned with them.

The active phase of Khanal et al. 2024 (arXiv 2407.05973), around any method that tells which
labels it holds for clean. In each round an acquisition function chooses samples outside of what is
trusted, an expert gives their labels, they become trusted, and the networks that predict are
fine-tuned on what is trusted, by cross-entropy. Labels guessed to be clean stay as they are until
they are paid for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.dropout import _DropoutNd

from medbench.engine.device import autocast
from medbench.engine.networks import Classifier, FrozenBackbone
from medbench.engine.optimisation import ScheduledOptimiser
from medbench.engine.state import PluginState
from medbench.engine.streams import seed_global_rngs
from medbench.engine.training import EpochResult, TrainingStage
from medbench.engine.views import NoisyDeviceImages
from medbench.errors import MedbenchError
from medbench.interfaces.acquisition import Acquisition, Pool
from medbench.interfaces.method import EpochReport
from medbench.interfaces.options import RefinementOptions

#: Gives the labels of the samples at some positions; each is charged.
Expert = Callable[[NDArray[np.int64]], NDArray[np.int64]]


@dataclass(frozen=True)
class RefinementInput:
    """What a refinement is given besides the restored method.

    Parameters
    ----------
    options : RefinementOptions
        The protocol's ``[refinement]``.
    guessed_clean : ndarray of bool, shape (N,)
        What the method held for clean.
    losses : ndarray of float32, shape (E, N)
        Cross-entropy with the noisy label after each epoch of the first phase.
    loss : float
        Training loss of its last epoch.
    """

    options: RefinementOptions
    guessed_clean: NDArray[np.bool_]
    losses: NDArray[np.float32]
    loss: float


class _Labels:
    """What changes from round to round besides the networks: part of a checkpoint."""

    def __init__(self, labels: NDArray[np.int64], trusted: NDArray[np.bool_]) -> None:
        self.labels = labels.copy()
        self.trusted = trusted.copy()
        self.bought = np.zeros(len(labels), np.bool_)


class RefinementStage:
    """The rounds of one refinement.

    Parameters
    ----------
    stage : TrainingStage
        The first phase, its method restored to its final state.
    acquisition : Acquisition
        Chooses whose labels are bought.
    given : RefinementInput
        What the first phase left, and the options.
    expert : callable
        Sells labels.

    Attributes
    ----------
    state : PluginState
        What a checkpoint saves between two rounds.

    Raises
    ------
    MedbenchError
        If the method predicts with no network that it got from its task, or the acquisition
        function needs dropout that the network lacks.
    """

    def __init__(
        self,
        stage: TrainingStage,
        acquisition: Acquisition,
        given: RefinementInput,
        expert: Expert,
    ) -> None:
        self.stage, self.acquisition, self.given, self.expert = stage, acquisition, given, expert
        self.device = stage.device
        self.now = _Labels(stage.given.train_labels, given.guessed_clean)
        self.state = PluginState({"method": stage.method, "labels": self.now}, stage.provided)
        self.networks = stage.predicting_networks()
        if not self.networks:
            raise MedbenchError(
                f"method {stage.method.name} predicts with no network of task.make_network(); "
                "it cannot be refined"
            )
        if acquisition.dropout_passes and not all(map(_dropout_layers, self.networks)):
            raise MedbenchError(
                f"acquisition {acquisition.name} needs a network with dropout: backbone "
                f"{stage.backbone.name} has none or is frozen; see `medbench list backbones`"
            )

    def plugins(self) -> tuple[object, ...]:
        """Return the plugins that are used."""
        return *self.stage.plugins(), self.acquisition

    def rounds(self, first: int = 0) -> Iterator[EpochResult]:
        """Yield predictions before any label is bought, as round 0, and after each round.

        Parameters
        ----------
        first : int
            The round to begin with.
        """
        options = self.given.options
        for number in range(first, options.rounds + 1):
            loss = self.given.loss
            if number:
                with self.stage.timer.part("step"):
                    self._buy(number)
                    loss = self._fine_tune(number)
            result = self.stage.evaluate(EpochReport(loss))
            with self.stage.timer.part("bookkeeping"):
                self.state.save()  # refuse what cannot be saved in every run, checkpoint or not
                yield result

    def _buy(self, number: int) -> None:
        now, budget = self.now, self.given.options.budget
        pool = self._pool(number)
        name = f"acquisition {self.acquisition.name}"
        rng = self.stage.harness.numpy_rng("acquisition", number)
        chosen = np.asarray(self.acquisition.choose(pool, budget, rng))
        if chosen.shape != (budget,) or chosen.dtype.kind not in "iu":
            raise MedbenchError(
                f"{name} chose {chosen.dtype} {chosen.shape}, not {budget} positions"
            )
        if len(np.unique(chosen)) < budget or not np.isin(chosen, pool.candidates).all():
            raise MedbenchError(f"{name} chose a sample twice, or one that is not a candidate")
        now.labels[chosen] = self.expert(chosen.astype(np.int64))
        now.trusted[chosen] = True
        now.bought[chosen] = True

    def _pool(self, number: int) -> Pool:
        """Return what the acquisition function sees."""
        now = self.now
        doubtful = np.flatnonzero(~now.trusted)
        # where too few are left, labels guessed to be clean may be bought, too
        enough = len(doubtful) >= self.given.options.budget
        probabilities, features = self._predictions()
        return Pool(
            probabilities=probabilities,
            features=features,
            labels=now.labels.copy(),
            trusted=now.trusted.copy(),
            candidates=doubtful if enough else np.flatnonzero(~now.bought),
            losses=self.given.losses,
            dropout=self._dropout(number) if self.acquisition.dropout_passes else None,
        )

    def _fine_tune(self, number: int) -> float:
        """Train the networks that predict on what is trusted; return the mean loss."""
        stage, options = self.stage, self.given.options
        training = stage.given.training
        trusted = torch.from_numpy(np.flatnonzero(self.now.trusted)).to(self.device)
        if len(trusted) < 2:
            return self.given.loss  # batch normalisation cannot be trained on one sample
        labels = torch.from_numpy(self.now.labels).to(self.device)
        images = NoisyDeviceImages(stage.train, labels, training.augmentation, stage.timer)
        settings = options.optimiser or training.optimiser
        optimisers = [
            ScheduledOptimiser((network,), settings, options.epochs, training.layer_decay)
            for network in self.networks
        ]
        losses = []
        for epoch in range(options.epochs):
            place = (number - 1) * options.epochs + epoch
            seed_global_rngs(stage.given.training_seed, place)
            for network, optimiser in zip(self.networks, optimisers, strict=True):
                network.train()
                optimiser.start_epoch(epoch)
            rng = stage.harness.rng("refinement", place)
            for batch in images.batches(training.batch_size, rng, indices=trusted):
                for network, optimiser in zip(self.networks, optimisers, strict=True):
                    with autocast(self.device, stage.given.compute):
                        logits = network(batch.images)
                    loss = F.cross_entropy(logits.float(), batch.labels)
                    optimiser.step(loss)
                    losses.append(loss.detach())
        return float(torch.stack(losses).mean())

    def _predictions(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the method's probabilities (N, K) and its networks' features (N, D)."""
        inputs: list[list[Tensor]] = [[] for _ in self.networks]
        hooks = [
            network.head.register_forward_pre_hook(
                lambda _, given, found=found: found.append(given[0].float())
            )
            for network, found in zip(self.networks, inputs, strict=True)
        ]
        probabilities = self.stage.predict(self.stage.train)
        for hook in hooks:
            hook.remove()
        features = torch.cat([torch.cat(found) for found in inputs], dim=1)
        return probabilities, features.cpu().numpy()

    def _dropout(self, number: int) -> NDArray[np.float32]:
        """Return the networks' mean probabilities in passes with dropout, (S, N, K)."""
        stage, passes = self.stage, self.acquisition.dropout_passes
        seed_global_rngs(stage.given.training_seed, -number)  # dropout draws from them
        for network in self.networks:
            network.eval()
            for layer in _dropout_layers(network):
                layer.train()
        found = []
        with torch.inference_mode(), autocast(self.device, stage.given.compute):
            for _ in range(passes):
                batches = [
                    torch.stack([n(batch).float().softmax(dim=1) for n in self.networks]).mean(0)
                    for batch in stage.train.chunks(stage.given.evaluation_batch)
                ]
                found.append(torch.cat(batches).cpu().numpy())
        return np.stack(found)


def _dropout_layers(network: Classifier) -> list[nn.Module]:
    """Return the layers that drop at random; a frozen backbone's never do."""
    if isinstance(network.backbone, FrozenBackbone):
        return []
    return [m for m in network.modules() if isinstance(m, _DropoutNd) and m.p > 0]

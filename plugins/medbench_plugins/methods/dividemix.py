"""DivideMix (Li et al. 2020, ICLR, arXiv 2002.07394)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from medbench.errors import MedbenchError
from medbench.interfaces.method import (
    Batch,
    EpochReport,
    LearningTask,
    LNLMethod,
    Optimiser,
)
from medbench_plugins.methods.averages import DeviceMean
from medbench_plugins.methods.mixmatch import (
    co_guess,
    co_refine,
    mean_probability,
    mix_up,
    negative_entropy,
    prior_penalty,
    soft_cross_entropy,
    squared_error,
)
from medbench_plugins.methods.mixture import clean_probability, normalise
from medbench_plugins.methods.ramps import linear_ramp, rampup_length, warmup_length
from medbench_plugins.methods.settings import DivideMixSettings

#: The reference warms up on batches twice the size [R].
WARMUP_BATCHES = 2

#: Fewest samples in a division: batch normalisation cannot be trained on one.
SMALLEST_DIVISION = 2

#: What the oracle has answered.
NOT_ASKED, SYMMETRIC, ASYMMETRIC = -1, 0, 1


class DivideMix(LNLMethod):
    r"""Divides the samples into labelled and unlabelled, and learns from both.

    After a warm-up with cross-entropy, each epoch goes:

    1. *Co-divide.* A mixture of two Gaussians is fitted to each network's
       losses; the posterior w of the component with the lower mean says how
       likely a label is clean (:mod:`~medbench_plugins.methods.mixture`).
    2. Network 1 learns on the division by network 2's losses; then network 2 on
       that by network 1's, which were taken before network 1 learned [R].
       Labelled samples get refined targets, unlabelled ones guessed targets,
       all are mixed up, and the loss is
       :math:`L_x + \lambda_u(t) L_u + \lambda_r L_{reg}`
       (:mod:`~medbench_plugins.methods.mixmatch`).

    Where the source is silent [I]: a division with fewer than two samples counts
    as empty, since batch normalisation cannot be trained on one. Without
    labelled samples the network goes through one more epoch of warm-up; without
    unlabelled ones the loss keeps its supervised part.

    After the warm-up, ``EpochReport.selected[m]`` marks the samples labelled by
    network m's losses, ``clean_probability`` is the mean of both networks' w and
    ``corrected`` the most likely class under :math:`w y + (1 - w) p` for a
    believed label and under p for a doubted one, with p the mean of both
    networks' predictions at the time of the division. In warm-up nothing is
    divided and nothing reported.
    """

    Settings = DivideMixSettings
    settings: DivideMixSettings
    asks = ("noise_is_symmetric",)

    def start(self, task: LearningTask) -> None:
        """Build two networks that differ in their heads, and their optimisers."""
        self.task = task
        self.warmup_epochs = warmup_length(self.settings.warmup_epochs, task.epochs)
        if self.settings.warmup_epochs is not None and self.warmup_epochs >= task.epochs:
            raise MedbenchError(
                f"method {self.name!r}: {self.warmup_epochs} warm-up epochs leave nothing of a "
                f"budget of {task.epochs} epochs, so no label would ever be doubted; lower "
                f"'warmup_epochs' or raise the budget"
            )
        self.rampup_epochs = rampup_length(self.settings.rampup_epochs, task.epochs)
        self.prior = torch.full((task.num_classes,), 1 / task.num_classes, device=task.device)
        if self.settings.prior == "labels":
            counts = torch.bincount(task.train.labels, minlength=task.num_classes)
            self.prior = counts / counts.sum()
        self.network_1 = task.make_network(0)
        self.network_2 = task.make_network(1)
        self.optimiser_1 = task.make_optimiser(self.network_1, self.settings.optimiser)
        self.optimiser_2 = task.make_optimiser(self.network_2, self.settings.optimiser)
        # Normalised losses of the last divisions, newest last; NaN: not yet there.
        self.losses: NDArray[np.float32] = np.full(
            (2, self.settings.loss_history, len(task.train)), np.nan, dtype=np.float32
        )
        self.noise_kind = (
            NOT_ASKED if self.settings.asymmetric is None else int(self.settings.asymmetric)
        )

    def train_epoch(self, epoch: int) -> EpochReport:
        """Warm up, or divide and train network 1, then network 2."""
        net_1, net_2 = self.network_1, self.network_2
        optimiser_1, optimiser_2 = self.optimiser_1, self.optimiser_2
        optimiser_1.start_epoch(epoch)
        optimiser_2.start_epoch(epoch)
        if epoch < self.warmup_epochs:
            loss_1 = self._warm_up(1, net_1, optimiser_1, epoch)
            loss_2 = self._warm_up(2, net_2, optimiser_2, epoch)
            return EpochReport(loss=(loss_1 + loss_2) / 2)

        w, guess = self._divide(epoch)
        loss_1 = self._train(1, net_1, net_2, optimiser_1, w[1], epoch)
        loss_2 = self._train(2, net_2, net_1, optimiser_2, w[0], epoch)
        mean_w = w.mean(axis=0)
        return EpochReport(
            loss=(loss_1 + loss_2) / 2,
            selected=w > self.settings.p_threshold,
            clean_probability=mean_w.astype(np.float32),
            corrected=correct(
                self.task.train.labels.cpu().numpy(), mean_w, guess, self.settings.p_threshold
            ),
        )

    def predict(self, images: Tensor) -> Tensor:
        """Return both networks' probabilities together, shape (B, K).

        The reference adds the logits [R]; softmax of their mean gives the same
        decisions.
        """
        self.network_1.eval()
        self.network_2.eval()
        with self.task.autocast():
            logits_1: Tensor = self.network_1(images)
            logits_2: Tensor = self.network_2(images)
        return ((logits_1.float() + logits_2.float()) / 2).softmax(dim=1)

    def _penalise_certainty(self) -> bool:
        """Return whether the noise is asymmetric, asking for it at most once."""
        if self.noise_kind == NOT_ASKED:
            symmetric = self.task.oracle.noise_is_symmetric()
            self.noise_kind = SYMMETRIC if symmetric else ASYMMETRIC
        return self.noise_kind == ASYMMETRIC

    def _warm_up(self, number: int, network: nn.Module, optimiser: Optimiser, epoch: int) -> float:
        """Train one epoch with cross-entropy on all samples; return the mean loss."""
        task = self.task
        penalise = self._penalise_certainty()
        network.train()
        mean = DeviceMean(task.device)
        rng = task.rng(f"warm-up-{number}", epoch)
        for batch in task.train.batches(WARMUP_BATCHES * task.batch_size, rng):
            with task.autocast():
                logits = network(batch.images)
            loss = F.cross_entropy(logits.float(), batch.labels)
            if penalise:
                loss = loss + negative_entropy(logits.float())
            optimiser.step(loss)
            mean.add(loss, len(batch.labels))
        return mean.read()

    def _divide(self, epoch: int) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Return w of both networks (2, N), and their mean prediction (N, K)."""
        losses, guess = self._evaluate()
        newest = np.stack([normalise(row) for row in losses]).astype(np.float32)
        self.losses = np.concatenate([self.losses[:, 1:], newest[:, None]], axis=1)
        averaged = np.nanmean(self.losses, axis=1)
        seeds = self.task.numpy_rng("mixture", epoch).integers(2**31, size=2)
        w = np.stack(
            [clean_probability(row, int(seed)) for row, seed in zip(averaged, seeds, strict=True)]
        )
        return w, guess

    @torch.no_grad()
    def _evaluate(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the losses (2, N) and the mean prediction (N, K) on images as they are."""
        task = self.task
        self.network_1.eval()
        self.network_2.eval()
        losses = torch.empty((2, len(task.train)), device=task.device)
        guess = torch.empty((len(task.train), task.num_classes), device=task.device)
        for batch in task.train.plain_batches(WARMUP_BATCHES * task.batch_size):
            with task.autocast():
                logits = [self.network_1(batch.images), self.network_2(batch.images)]
            for m, z in enumerate(logits):
                losses[m, batch.indices] = F.cross_entropy(
                    z.float(), batch.labels, reduction="none"
                )
            guess[batch.indices] = mean_probability(logits)
        return losses.cpu().numpy(), guess.cpu().numpy()

    def _train(
        self,
        number: int,
        network: nn.Module,
        peer: nn.Module,
        optimiser: Optimiser,
        w: NDArray[np.float64],
        epoch: int,
    ) -> float:
        """Train ``network`` for one epoch on the division by its peer's ``w``; return the loss."""
        task, settings = self.task, self.settings
        believed = w > settings.p_threshold
        labelled = torch.from_numpy(np.flatnonzero(believed)).to(task.device)
        unlabelled = torch.from_numpy(np.flatnonzero(~believed)).to(task.device)
        if len(labelled) < SMALLEST_DIVISION:
            return self._warm_up(number, network, optimiser, epoch)

        network.train()
        peer.eval()
        clean = torch.from_numpy(w.astype(np.float32)).to(task.device)
        steps = len(labelled) // task.batch_size + 1  # of an epoch, as the ramp counts them [R]
        doubted = self._cycle(unlabelled, task.rng(f"unlabelled-{number}", epoch))
        order_rng = task.rng(f"mix-up-{number}", epoch)
        share_rng = task.numpy_rng(f"mix-up-{number}", epoch)
        mean = DeviceMean(task.device)
        batches = task.train.batches(
            task.batch_size, task.rng(f"labelled-{number}", epoch), indices=labelled, views=2
        )
        for step, x in enumerate(batches):
            u = next(doubted, None)
            # Guess before refining: batch statistics are gathered in that order [R].
            targets_u = None if u is None else self._guess(network, peer, u)
            targets_x = self._refine(network, x, clean[x.indices])
            views, targets = [*x.views], [targets_x, targets_x]
            if u is not None and targets_u is not None:
                views += u.views
                targets += [targets_u, targets_u]

            share = share_rng.beta(settings.alpha, settings.alpha)
            images, mixed_targets = torch.cat(views), torch.cat(targets)
            order = torch.randperm(len(images), generator=order_rng, device=task.device)
            images, mixed_targets = mix_up(images, mixed_targets, order, max(share, 1.0 - share))

            with task.autocast():
                logits = network(images)
            logits = logits.float()
            n = 2 * len(x.labels)
            loss = soft_cross_entropy(logits[:n], mixed_targets[:n])
            if u is not None:
                lambda_u = settings.lambda_u * linear_ramp(
                    epoch + step / steps, self.warmup_epochs, self.rampup_epochs
                )
                loss = loss + lambda_u * squared_error(logits[n:], mixed_targets[n:])
            loss = loss + settings.lambda_prior * prior_penalty(logits, self.prior)
            optimiser.step(loss)
            mean.add(loss, len(x.labels))
        return mean.read()

    def _cycle(self, indices: Tensor, rng: torch.Generator) -> Iterator[Batch]:
        """Yield batches of the unlabelled samples without end, or none if there are too few."""
        while len(indices) >= SMALLEST_DIVISION:
            yield from self.task.train.batches(self.task.batch_size, rng, indices=indices, views=2)

    @torch.no_grad()
    def _refine(self, network: nn.Module, batch: Batch, clean: Tensor) -> Tensor:
        """Return refined targets of labelled samples, shape (B, K)."""
        # One forward pass a view, in train mode, as in the reference: joined,
        # the views would share their batch statistics.
        with self.task.autocast():
            logits = [network(view) for view in batch.views]
        return co_refine(batch.labels, clean, mean_probability(logits), self.settings.temperature)

    @torch.no_grad()
    def _guess(self, network: nn.Module, peer: nn.Module, batch: Batch) -> Tensor:
        """Return guessed targets of unlabelled samples, shape (B, K)."""
        with self.task.autocast():
            logits = [network(view) for view in batch.views]
            # The peer is in eval mode: its views may share one pass.
            logits += peer(torch.cat(batch.views)).chunk(len(batch.views))
        return co_guess(logits, self.settings.temperature)


def correct(
    labels: NDArray[np.int64],
    w: NDArray[np.float64],
    guess: NDArray[np.float32],
    threshold: float,
) -> NDArray[np.int64]:
    """Return the class each sample most likely has.

    Parameters
    ----------
    labels : ndarray of int64, shape (N,)
        Noisy labels y.
    w : ndarray of float, shape (N,)
        How likely they are clean.
    guess : ndarray of float, shape (N, K)
        Predictions p.
    threshold : float
        Labels with w above it are believed.

    Returns
    -------
    ndarray of int64, shape (N,)
        The largest entry of w y + (1 - w) p where the label is believed, of p
        where it is not.
    """
    believed = np.where(w > threshold, w, 0.0)[:, None]
    y = np.eye(guess.shape[1])[labels]
    best: NDArray[np.int64] = (believed * y + (1.0 - believed) * guess).argmax(axis=1)
    return best

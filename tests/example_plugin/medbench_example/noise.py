"""A noise model that has no transition matrix."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medbench.interfaces import CleanLabels, NoiseModel


class Hurried(NoiseModel):
    """A hurried annotator: with probability ``rate`` writes down the commonest class.

    Which class that is depends on the labels at hand (of equally common ones
    the first), so there is no matrix to state beforehand. Samples of that
    class keep their label, and the realised rate stays below the nominal one.
    """

    def transition_matrix(
        self, class_names: tuple[str, ...], dataset: str, rate: float
    ) -> NDArray[np.float64] | None:
        """Return ``None``: see the class."""
        return None

    def corrupt(
        self, data: CleanLabels, rate: float, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Return noisy labels, int64, shape (N,)."""
        commonest = np.bincount(data.labels, minlength=data.num_classes).argmax()
        hurried = rng.random(len(data.labels)) < rate
        return np.where(hurried, commonest, data.labels)

"""Labels as they are: nothing is added, and how many are wrong is unknown."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from medbench.errors import MedbenchError
from medbench.interfaces.noise import CleanLabels, NoiseModel
from medbench_plugins.noise.limits import check


class AsGiven(NoiseModel):
    """Leaves all labels as the dataset gives them: for images whose labels may be wrong.

    The protocol's rate is that of the noise that is added, and must be 0. Unless the dataset's
    training labels are trusted, nobody knows which are wrong: the oracle refuses every
    question, and what needs the true labels of training images (memorised share, quality of a
    selection, realised rate) is not computed. Record and board hold an estimate of the
    share of wrong labels and of the noise matrix instead, with intervals.

    References
    ----------
    Of medbench itself, 2026. The estimate: Northcutt, Jiang, Chuang 2021 (JAIR 70, arXiv
    1911.00068).
    """

    truth_known = False

    def transition_matrix(self, class_names: tuple[str, ...], dataset: str, rate: float) -> None:
        """Return ``None``: it is unknown. Refuse any rate but 0."""
        check(self.name, class_names, dataset, rate)
        if rate:
            raise MedbenchError(
                f"noise {self.name!r} on dataset {dataset!r} adds no noise, so its rate is 0, not "
                f"{rate:g}; write it in a [[grid]] of its own with rates = [0]"
            )

    def corrupt(self, data: CleanLabels, rate: float, rng: Generator) -> NDArray[np.int64]:
        """Return the labels; the generator is not used."""
        return data.labels.copy()

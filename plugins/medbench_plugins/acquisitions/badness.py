"""Acquisition by the badness of labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medbench.interfaces import Pool, ScoredAcquisition
from medbench_plugins.acquisitions.uncertainty import entropy


class Badness(ScoredAcquisition):
    r"""Labels that look wrong, on images that look easy (after Bernhardt et al. 2022).

    .. math:: \frac{1}{E} \sum_e \ell_{ie} - H(p_i)

    The source subtracts the ambiguity of the image, the entropy of the prediction, from the
    cross-entropy with the given label: a label is worth checking where the network contradicts
    it and is certain. Here the cross-entropy is the mean over all epochs of the first phase [I]:
    later networks have memorised labels. A label that an expert has given is never a candidate.
    """

    def scores(self, pool: Pool) -> NDArray[np.float64]:
        """Return badness minus ambiguity, shape (N,)."""
        badness: NDArray[np.float64] = np.asarray(pool.losses, np.float64).mean(axis=0)
        return badness - entropy(pool.probabilities)

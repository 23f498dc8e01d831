"""Class-dependent noise: any transition matrix, scaled to the rate."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from medbench.errors import MedbenchError
from medbench.interfaces.noise import MatrixNoise
from medbench.interfaces.settings import Settings
from medbench_plugins.noise.limits import Matrix, check, required
from medbench_plugins.noise.scaling import scaled

#: How far a row of a matrix typed by hand may be from summing to 1.
ROW_TOLERANCE = 1e-6


class ClassDependentSettings(Settings):
    """Settings of :class:`ClassDependent`: one matrix for all datasets, or one for each."""

    matrix: list[list[float]] | None = Field(
        None,
        description="transition matrix for every dataset without one of its own: row i holds the "
        "probabilities of the noisy classes of true class i; only its shape counts, not its rate",
    )
    matrices: dict[str, list[list[float]]] = Field({}, description="matrices by dataset name")


class ClassDependent(MatrixNoise):
    r"""Labels flip as a given matrix M of confusions says, as often as the rate says.

    .. math:: T = I + s (M - I), \qquad
              s = \rho \Big/ \tfrac{1}{K} \sum_i (1 - M_{ii})

    M gives the shape: which classes are confused with which, and how much more
    often than others. The rate gives the size: the mean over classes of the
    probability to flip is rho. With classes of unequal size the realised rate
    differs from rho.

    References
    ----------
    Noise that depends on the class alone, given by its matrix: Patrini et al.:
    Making Deep Neural Networks Robust to Label Noise. CVPR 2017. arXiv 1609.03683.
    """

    Settings = ClassDependentSettings
    settings: ClassDependentSettings

    def transition_matrix(self, class_names: tuple[str, ...], dataset: str, rate: float) -> Matrix:
        """Return T, shape (K, K); see :meth:`medbench.interfaces.NoiseModel.transition_matrix`."""
        check(self.name, class_names, dataset, rate)
        M = self._shape(class_names, dataset)
        return scaled(M, rate, class_names, self._where(dataset))

    def _shape(self, class_names: tuple[str, ...], dataset: str) -> Matrix:
        """Return the checked matrix M, shape (K, K), that holds for ``dataset``."""
        rows = self.settings.matrices.get(dataset, self.settings.matrix)
        where = f"'matrix', or 'matrices.{dataset}',"
        rows = required(rows, self.name, dataset, "transition matrix", where)
        K = len(class_names)
        if len(rows) != K or any(len(row) != K for row in rows):
            lengths = sorted({len(row) for row in rows})
            raise MedbenchError(
                f"{self._where(dataset)} must have {K} rows of {K} numbers, one row and one "
                f"column a class; it has {len(rows)} rows of "
                f"{' or '.join(map(str, lengths)) or 'no'} numbers"
            )
        M = np.asarray(rows, dtype=np.float64)
        for name, row in zip(class_names, M, strict=True):
            if not np.isfinite(row).all() or (row < 0.0).any():
                raise MedbenchError(
                    f"{self._where(dataset)}: the row of class {name!r} has an entry that is not "
                    f"a probability"
                )
            if abs(row.sum() - 1.0) > ROW_TOLERANCE:
                raise MedbenchError(
                    f"{self._where(dataset)}: the row of class {name!r} sums to "
                    f"{row.sum():.6g}, not to 1"
                )
        return M

    def _where(self, dataset: str) -> str:
        """Return the words that name the matrix in the protocol."""
        key = f"matrices.{dataset}" if dataset in self.settings.matrices else "matrix"
        return f"[noise.{self.name}] {key} (for dataset {dataset!r})"

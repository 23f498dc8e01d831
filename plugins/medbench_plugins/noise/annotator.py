"""Annotator noise: labels are confused as a measured matrix says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, model_validator

from medbench.errors import MedbenchError
from medbench.interfaces.noise import MatrixNoise
from medbench.interfaces.settings import Settings
from medbench_plugins.noise.confusions import Confusions, read_confusions
from medbench_plugins.noise.limits import Matrix, check, required
from medbench_plugins.noise.scaling import own_rate, scaled

#: How far the protocol's rate may be from the matrix's own: what three digits leave open,
#: and a little more.
RATE_TOLERANCE = 0.005


class AnnotatorSettings(Settings):
    """Settings of :class:`Annotator`: a file for all datasets, or one for each.

    Files are read when the settings are: the content goes into ``matrix`` and
    ``matrices``, and ``file`` and ``files`` are forgotten. The resolved settings,
    and with them the run key, hold what the files say and not where they are.
    """

    file: str | None = Field(
        None,
        exclude=True,
        description="CSV of confusions: a row a true class, a column a given class, named in "
        "header and first column; counts or probabilities. A relative path counts from the "
        "working directory",
    )
    files: dict[str, str] = Field({}, exclude=True, description="such files by dataset name")
    matrix: Confusions | None = Field(None, description="what `file` says, filled in on reading")
    matrices: dict[str, Confusions] = Field(
        default_factory=dict, description="what `files` say; filled in when they are read"
    )
    scale_to_rate: bool = Field(
        False,
        description="scale the confusions to the protocol's rate; otherwise the rate must be "
        "the matrix's own",
    )

    @model_validator(mode="before")
    @classmethod
    def _read(cls, values: Any) -> Any:
        """Replace paths by what the files say."""
        if not isinstance(values, Mapping):
            return values
        given = dict(values)
        for source, target in (("file", "matrix"), ("files", "matrices")):
            paths = given.pop(source, None)
            if not paths:
                continue
            if given.get(target):
                raise ValueError(f"{source} and {target} cannot both be given; drop one")
            given[target] = _contents(paths)
        return given


def _contents(paths: Any) -> Any:
    """Return what the file with a path says, or each file of a mapping."""
    if isinstance(paths, Mapping):
        return {name: _contents(path) for name, path in paths.items()}
    return read_confusions(paths) if isinstance(paths, str) else paths


class Annotator(MatrixNoise):
    r"""Labels are confused as people confused them, by a matrix M given as CSV.

    M has a rate of its own, the mean over classes of the probability to flip,
    :math:`\rho_M = \tfrac{1}{K} \sum_i (1 - M_{ii})`. Unscaled, it is used at
    that rate only: a protocol that asks for another one, by more than .005, is
    refused with the rate to write. With ``scale_to_rate`` it is scaled to any
    rate as in :class:`~medbench_plugins.noise.class_dependent.ClassDependent`,

    .. math:: T = I + (\rho / \rho_M) (M - I),

    and what the annotators said of the amount of confusion is lost; of which
    classes are confused with which it is kept.

    Labels flip independently of the image, given the class: real annotators err
    on hard images. M is not estimated here.

    References
    ----------
    Confusions of annotators as a matrix: Dawid, Skene: Maximum Likelihood Estimation of
    Observer Error-Rates Using the EM Algorithm. Applied Statistics 28, 1979.
    """

    Settings = AnnotatorSettings
    settings: AnnotatorSettings

    def transition_matrix(self, class_names: tuple[str, ...], dataset: str, rate: float) -> Matrix:
        """Return T, shape (K, K); see :meth:`medbench.interfaces.NoiseModel.transition_matrix`."""
        check(self.name, class_names, dataset, rate)
        where, M = self._confusions(class_names, dataset)
        if self.settings.scale_to_rate:
            return scaled(M, rate, class_names, where)
        own = own_rate(M)
        if abs(rate - own) > RATE_TOLERANCE:
            raise MedbenchError(
                f"{where} has the rate {own:.3g}, not {rate:g}: write {own:.3g} in grid.rates, "
                f"or scale_to_rate = true in [noise.{self.name}]"
            )
        return M

    def _confusions(self, class_names: tuple[str, ...], dataset: str) -> tuple[str, Matrix]:
        """Return the words that name the matrix for ``dataset``, and the matrix (K, K)."""
        settings = self.settings
        key = f"files.{dataset}" if dataset in settings.matrices else "file"
        confusions = required(
            settings.matrices.get(dataset, settings.matrix),
            self.name,
            dataset,
            "confusions",
            f"'file', or 'files.{dataset}', to the path of a CSV",
        )
        where = f"[noise.{self.name}] {key} (for dataset {dataset!r})"
        if difference := confusions.difference(class_names):
            raise MedbenchError(
                f"{where} {difference}; in header and first column name the dataset's classes: "
                f"{', '.join(map(repr, class_names))}"
            )
        return where, confusions.of(class_names)

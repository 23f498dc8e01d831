"""Instance-dependent noise: what is seen decides which wrong label is given."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import ndtr, ndtri

from medbench.interfaces.dataset import ArrayLike
from medbench.interfaces.noise import CleanLabels, NoiseModel
from medbench.interfaces.settings import Settings
from medbench_plugins.noise.limits import check

#: Bytes of images read at once, and of numbers worked on at once.
_CHUNK_BYTES = 32 * 1024**2

#: Variance, in grey levels squared, below which a channel is the same everywhere.
_FLAT = 1e-9


class InstanceDependentSettings(Settings):
    """Settings of :class:`InstanceDependent`."""

    deviation: float = Field(
        0.1,
        gt=0,
        le=1,
        description="standard deviation of the samples' flip rates before truncation [P]",
    )
    cells: int = Field(
        8,
        ge=1,
        le=16,
        description="images are averaged to at most cells x cells before they are projected, so "
        "that memory and time do not grow with their size [I]",
    )


class InstanceDependent(NoiseModel):
    r"""Each sample has a flip rate of its own, and its pixels choose the wrong class.

    For sample i with pixels :math:`x_i` (shape (D,), see :func:`pixels`) and
    true class :math:`y_i`, following algorithm 2 of the source:

    .. math::
        q_i &\sim \mathcal{N}(\rho, \sigma^2) \text{ truncated to } [0, 1],
            \qquad W_k \sim \mathcal{N}(0, 1)^{D \times K} \text{ for each class } k, \\
        a_i &= x_i W_{y_i}, \qquad a_{i, y_i} = -\infty, \\
        P(\tilde y_i = j) &= q_i \, \mathrm{softmax}(a_i)_j \ (j \neq y_i),
            \qquad P(\tilde y_i = y_i) = 1 - q_i .

    There is no matrix to state: whether a class can still be learned is decided
    by the realised one. What follows from the definition:

    * Truncation moves the mean flip rate towards 1/2: .129 at a rate of .1, .206 at .2,
      .3 at .3, and .871 at .9.
    * The entries of a have a standard deviation of about the root of D, so
      softmax is nearly certain: images that look alike get the same wrong class.
      That is the source's, where D is larger still.

    Chosen here [I]: a rate of 0 flips nothing, although the truncated normal
    around 0 has a mean of .08; images are averaged to a small grid first;
    channels are standardised by the images at hand, training and validation
    together, whose labels come of one draw.

    The code that goes around reads the data from a path of its author's, seeds
    the global generators with 0 in every run, and draws one matrix for all
    classes in some copies; here the generator handed in is the only source.

    References
    ----------
    Xia, Liu, Han, Wang, Gong, Liu, Niu, Tao, Sugiyama: Part-dependent Label
    Noise: Towards Instance-dependent Label Noise. NeurIPS 2020. arXiv 2006.07836.
    """

    Settings = InstanceDependentSettings
    settings: InstanceDependentSettings

    def transition_matrix(self, class_names: tuple[str, ...], dataset: str, rate: float) -> None:
        """Return ``None``: the noise differs from image to image.

        Raises
        ------
        medbench.errors.MedbenchError
            If the rate is not in [0, 1] or there are fewer than two classes.
        """
        check(self.name, class_names, dataset, rate)

    def corrupt(self, data: CleanLabels, rate: float, rng: Generator) -> NDArray[np.int64]:
        """Draw noisy labels; see :meth:`medbench.interfaces.NoiseModel.corrupt`.

        The generator gives, in this order: N numbers for the flip rates, N to draw
        the labels with, then the K matrices W, class by class.
        """
        K = check(self.name, data.class_names, data.dataset, rate)
        labels = np.asarray(data.labels, np.int64)
        if rate == 0.0 or len(labels) == 0:
            return labels.copy()
        q = flip_rates(len(labels), rate, self.settings.deviation, rng)
        uniform = rng.random(len(labels))
        x = pixels(data.images, len(labels), self.settings.cells)
        noisy = np.empty_like(labels)
        step = max(1, _CHUNK_BYTES // (8 * max(x.shape[1], K)))
        for k in range(K):
            W = rng.standard_normal((x.shape[1], K))
            mine = np.flatnonzero(labels == k)
            for start in range(0, len(mine), step):
                part = mine[start : start + step]
                noisy[part] = draw(flip_probabilities(x[part], k, q[part], W), uniform[part])
        return noisy


def flip_rates(count: int, rate: float, deviation: float, rng: Generator) -> NDArray[np.float64]:
    r"""Draw from N(rate, deviation²) truncated to [0, 1], by inverse transform.

    .. math:: q = \rho + \sigma \Phi^{-1}(u), \qquad
              u \sim U(\Phi(-\rho/\sigma), \Phi((1-\rho)/\sigma))

    Parameters
    ----------
    count : int
        N.
    rate : float
        rho in [0, 1].
    deviation : float
        sigma > 0.
    rng : numpy.random.Generator
        Source of N uniform numbers.

    Returns
    -------
    ndarray of float64, shape (N,)
        In [0, 1].
    """
    low, high = ndtr(-rate / deviation), ndtr((1.0 - rate) / deviation)
    u = low + (high - low) * rng.random(count)
    q: NDArray[np.float64] = np.clip(rate + deviation * ndtri(u), 0.0, 1.0)
    return q


def pixels(images: ArrayLike, count: int, cells: int) -> NDArray[np.float32]:
    """Return images averaged to a small grid, standardised by channel and flattened.

    Images are cut into ``cells`` x ``cells`` rectangles whose sides differ by
    at most a pixel, and each rectangle is replaced by its mean: a whole number
    over its area. Each channel of the result has mean 0 and deviation 1 over
    all images and places.

    Parameters
    ----------
    images : array-like of uint8, shape (N, H, W, C)
        Images, or an open HDF5 dataset; read in chunks.
    count : int
        N.
    cells : int
        Rectangles along a side, no more than H and W.

    Returns
    -------
    ndarray of float32, shape (N, D)
        D = min(cells, H) min(cells, W) C: 768 bytes a colour image for 8 x 8.
        Zeros in a channel that is the same everywhere.
    """
    height, width, channels = images.shape[1:]
    rows, columns = min(cells, height), min(cells, width)
    pooled = np.empty((count, rows, columns, channels), np.float32)
    total, squares = np.zeros(channels), np.zeros(channels)
    for span in _spans(count, height * width * channels):
        means = cell_means(np.asarray(images[span]), rows, columns)
        total += means.sum(axis=(0, 1, 2))
        squares += (means**2).sum(axis=(0, 1, 2))
        pooled[span] = means
    numbers = count * rows * columns
    variance = squares / numbers - (total / numbers) ** 2
    flat = variance < _FLAT
    pooled -= (total / numbers).astype(np.float32)
    pooled /= np.sqrt(np.where(flat, 1.0, variance)).astype(np.float32)
    pooled[..., flat] = 0.0
    return pooled.reshape(count, -1)


def cell_means(images: NDArray[np.uint8], rows: int, columns: int) -> NDArray[np.float64]:
    """Return the means over ``rows`` x ``columns`` rectangles of images, exact before division.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, H, W, C)
        Images.
    rows, columns : int
        Rectangles down and across; rectangle r begins at row floor(r H / rows).

    Returns
    -------
    ndarray of float64, shape (n, rows, columns, C)
        In [0, 255].
    """
    height, width = images.shape[1:3]
    top, left = np.arange(rows) * height // rows, np.arange(columns) * width // columns
    sums = np.add.reduceat(images, top, axis=1, dtype=np.int64)
    sums = np.add.reduceat(sums, left, axis=2)
    area = np.diff(top, append=height)[:, None, None] * np.diff(left, append=width)[:, None]
    means: NDArray[np.float64] = sums / area
    return means


def flip_probabilities(
    x: NDArray[np.floating], own: int, q: NDArray[np.float64], W: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the distribution of the noisy label of samples of one class.

    Parameters
    ----------
    x : ndarray of float, shape (n, D)
        Pixels.
    own : int
        Their true class y.
    q : ndarray of float, shape (n,)
        Flip rates.
    W : ndarray of float, shape (D, K)
        The projection of class y.

    Returns
    -------
    ndarray of float64, shape (n, K)
        Rows sum to 1; 1 - q in column y, q softmax(x W) over the others.
    """
    # einsum, unlike a BLAS product, adds in one order for any number of threads.
    scores = np.einsum("nd,dk->nk", x.astype(np.float64), W)
    scores[:, own] = -np.inf
    scores -= scores.max(axis=1, keepdims=True)
    shares = np.exp(scores)
    P: NDArray[np.float64] = q[:, None] * shares / shares.sum(axis=1, keepdims=True)
    P[:, own] = 1.0 - q
    return P


def draw(probabilities: NDArray[np.float64], uniform: NDArray[np.float64]) -> NDArray[np.int64]:
    """Draw one class a row by inverse transform.

    Parameters
    ----------
    probabilities : ndarray of float64, shape (n, K)
        Rows sum to 1.
    uniform : ndarray of float64, shape (n,)
        In [0, 1).

    Returns
    -------
    ndarray of int64, shape (n,)
        The first class whose cumulative probability is above the number.
    """
    cumulative = np.cumsum(probabilities, axis=1)
    cumulative /= cumulative[:, -1:]  # rounding must not leave a gap below 1
    classes: NDArray[np.int64] = (uniform[:, None] >= cumulative).sum(axis=1)
    return classes


def _spans(count: int, row_bytes: int) -> Iterator[slice]:
    """Yield slices over ``count`` images of ``row_bytes`` bytes, a chunk each.

    The sums over a chunk are eight times as large as its bytes along one axis,
    which gives the factor.
    """
    step = max(1, _CHUNK_BYTES // (8 * row_bytes))
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))

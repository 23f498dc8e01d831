"""Labels as they are: which test labels may be wrong, and how many labels are, by estimate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from numpy.typing import NDArray

from medbench.errors import StoreError
from medbench.interfaces.dataset import LABELS_AS_GIVEN, SPLITS
from medbench.results import Results
from medbench_leaderboard.names import Block, listed
from medbench_leaderboard.table import BLOCK, grouped


@dataclass(frozen=True)
class BlockNoise:
    """The estimated noise of a block whose labels are as given.

    Parameters
    ----------
    block : Block
        Which.
    run : str
        Key of the run whose estimated share of wrong labels is the smallest of the block.
    rate, low, high : float
        That share, and its 95 % interval over images.
    classes : tuple of str
        Names of the K classes.
    matrix : tuple of tuple of (float, float, float)
        For class i (row) and label j: the estimate of P(label j | class i), and its interval;
        NaN in the row of a class that no image is confidently in.
    """

    block: Block
    run: str
    rate: float
    low: float
    high: float
    classes: tuple[str, ...] = ()
    matrix: tuple[tuple[tuple[float, float, float], ...], ...] = ()


def datasets_as_given(cards: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the datasets whose test labels are not trusted."""
    return sorted(name for name, card in cards.items() if "test" not in card.get("trusted", SPLITS))


def estimates(runs: pd.DataFrame) -> Iterator[BlockNoise]:
    """Yield the estimated share of wrong labels of each block that has one, without a matrix.

    It is that of the run with the smallest one, since a network's errors count as wrong labels.

    Parameters
    ----------
    runs : pandas.DataFrame
        One row a run, as :attr:`medbench.Results.runs`.
    """
    for key, part in grouped(runs[runs["estimated_rate"].notna()], BLOCK):
        row = part.sort_values(["estimated_rate", "run_key"]).iloc[0]
        rate, low, high = (float(row[f"estimated_rate{end}"]) for end in ("", "_low", "_high"))
        yield BlockNoise(Block(*key), str(row["run_key"]), rate, low, high)


def read_block_noise(results: Results, runs: pd.DataFrame) -> list[BlockNoise]:
    """Return the estimated noise of each block that has one; see :func:`estimates`."""
    found = []
    for of in estimates(runs):
        try:
            classes = results.header(of.run).summary["classes"]
            arrays = results.arrays(of.run, "noise/")
        except StoreError:
            continue  # removed since the runs were read; the table of runs shows it
        values = [arrays[f"noise/estimated_{name}"] for name in ("matrix", "low", "high")]
        found.append(replace(of, classes=tuple(classes), matrix=_cells(values)))
    return found


def as_given_sentences(cards: Mapping[str, Mapping[str, Any]], runs: pd.DataFrame) -> list[str]:
    """Say which scores are against labels that may be wrong, and how many are."""
    sentences = []
    if names := datasets_as_given(cards):
        sentences.append(f"Scored against {LABELS_AS_GIVEN}: {listed(names)}.")
    for of in estimates(runs):
        sentences.append(
            f"Estimated share of wrong labels in {of.block.dataset}: {of.rate:.1%} (95% interval "
            f"{of.low:.1%} to {of.high:.1%}), by confident learning on images held out of "
            "training. Errors of the network count as wrong labels: where the task is hard, fewer "
            "are wrong."
        )
    return sentences


def _cells(arrays: Sequence[NDArray[Any]]) -> tuple[tuple[tuple[float, float, float], ...], ...]:
    rows = zip(*(array.tolist() for array in arrays), strict=True)
    return tuple(tuple(zip(*row, strict=True)) for row in rows)

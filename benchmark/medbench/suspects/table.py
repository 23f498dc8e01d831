"""The table of suspects: one row for each image, the most suspect first."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from medbench.suspects.scoring import Scores

COLUMNS = (
    *("rank", "id", "path", "label", "suggested_label", "score", "probability_wrong"),
    *("evidence", "duplicate_of"),
)


@dataclass(frozen=True)
class Suspect:
    """An image and what is known of its label.

    Parameters
    ----------
    rank : int
        From 1; images that have copies with another label come first.
    id : str
        Id of the image in the dataset.
    path : str
        Path of the image in the user's folder, ``""`` if the id is no path.
    label, suggested_label : str
        The given class, and the most probable other one.
    score : float
        Logarithm of the odds that the label is wrong.
    probability_wrong : float
        Probability that the label is wrong.
    evidence : str
        Why, in words.
    duplicate_of : str
        Id of the first other image with the same pixels, ``""`` if there is none.
    row : int
        Row number in the dataset; not in the CSV file.
    """

    rank: int
    id: str
    path: str
    label: str
    suggested_label: str
    score: float
    probability_wrong: float
    evidence: str
    duplicate_of: str
    row: int


def rank_suspects(
    scores: Scores,
    labels: NDArray[np.int64],
    ids: Sequence[str],
    classes: Sequence[str],
    copies: NDArray[np.int64],
) -> list[Suspect]:
    """Return all images, the most suspect first.

    Images whose copies have another label come first, since one of their labels is certainly
    wrong; copies of one image stay together. All others follow by score, equal ones by id.

    Parameters
    ----------
    scores : Scores
        Of N images.
    labels : ndarray of int64, shape (N,)
        Given labels.
    ids : sequence of str, length N
        Ids.
    classes : sequence of str, length K
        Names of the classes.
    copies : ndarray of int64, shape (N,)
        The same number for identical images.
    """
    wrong = np.clip(scores.probability_wrong, 1e-9, 1 - 1e-9)
    odds = np.round(np.log(wrong / (1 - wrong)), 3)
    same: dict[int, list[int]] = {}
    for row, number in enumerate(copies.tolist()):
        same.setdefault(number, []).append(row)
    contradicted = {
        number: max(float(odds[row]) for row in rows)
        for number, rows in same.items()
        if len({int(labels[row]) for row in rows}) > 1
    }

    def place(row: int) -> tuple[bool, float, int, float, str]:
        number = int(copies[row])
        first = number in contradicted
        together = (-contradicted[number], number) if first else (0.0, 0)
        return not first, *together, -float(odds[row]), ids[row]

    found = []
    for rank, row in enumerate(sorted(range(len(ids)), key=place), 1):
        twins = [twin for twin in same[int(copies[row])] if twin != row]
        suspect = Suspect(
            rank,
            ids[row],
            ids[row] if PurePosixPath(ids[row]).suffix else "",
            classes[labels[row]],
            classes[scores.suggested[row]],
            float(odds[row]),
            round(float(scores.probability_wrong[row]), 3),
            _evidence(scores, labels, classes, row, twins),
            ids[twins[0]] if twins else "",
            row,
        )
        found.append(suspect)
    return found


def to_csv(suspects: Sequence[Suspect]) -> str:
    """Return the rows as CSV, with the columns :data:`COLUMNS`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for suspect in suspects:
        writer.writerow([getattr(suspect, column) for column in COLUMNS])
    return text.getvalue()


def _evidence(
    scores: Scores,
    labels: NDArray[np.int64],
    classes: Sequence[str],
    row: int,
    twins: Sequence[int],
) -> str:
    """Return what speaks for the suggested class, in words."""
    suggested = int(scores.suggested[row])
    said = []
    if other := sorted({int(labels[twin]) for twin in twins} - {int(labels[row])}):
        said.append(f"an identical image is labelled {classes[other[0]]}")
    near = labels[scores.nearest[row]]
    given, alike = (int(np.count_nonzero(near == code)) for code in (labels[row], suggested))
    said.append(
        f"of the {len(near)} nearest images {alike} are labelled {classes[suggested]},"
        f" {given} {classes[labels[row]]}"
    )
    shares = [
        f"{name} {share[row, suggested]:.2f}"
        for name, share in scores.opinions.items()
        if name != "neighbours"
    ]
    said.append(f"{classes[suggested]} by {', '.join(shares)}")
    return "; ".join(said)

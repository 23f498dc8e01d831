"""Reports of methods: what cannot be stored as it is meant fails the run, and says why."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from medbench.engine.reports import check_report
from medbench.errors import MedbenchError
from medbench.interfaces import EpochReport

N, K = 5, 3


def check(report: Any) -> None:
    check_report(report, N, K, "method mine")


def test_sound_reports_pass() -> None:
    check(EpochReport(0.5))
    check(EpochReport(float("nan")))  # predictions say whether it diverged
    check(
        EpochReport(
            0.5,
            selected=np.ones((2, N), bool),
            clean_probability=np.array([0, 1, 1 + 1e-7, 0.5, 0.5], np.float32),
            corrected=np.full(N, K - 1),
        )
    )


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (None, "train_epoch returned NoneType"),
        (EpochReport(None), "loss is a NoneType"),  # type: ignore[arg-type]
        (EpochReport(0.5, selected=np.full((1, N), 0.1)), "selected is float64 (1, 5), not bool"),  # type: ignore[arg-type]
        (EpochReport(0.5, selected=np.ones(N, bool)), "not bool of shape (M, 5)"),
        (EpochReport(0.5, clean_probability=np.ones(N - 1)), "(4,), not float32 of shape (5)"),
        (EpochReport(0.5, clean_probability=np.linspace(-5, 40, N)), "from -5.0 to 40.0"),
        (EpochReport(0.5, clean_probability=np.full(N, np.nan)), "from nan to nan"),
        (EpochReport(0.5, corrected=np.full((N, K), 0.3)), "corrected is float64 (5, 3)"),  # type: ignore[arg-type]
        (EpochReport(0.5, corrected=np.full(N, 9)), "corrected goes from 9 to 9, not 0 to 2"),
        (EpochReport(0.5, corrected=[0] * N), "corrected is a list, not a numpy array"),  # type: ignore[arg-type]
    ],
)
def test_what_is_wrong_is_named(report: Any, words: str) -> None:
    with pytest.raises(MedbenchError, match=r"^method mine: ") as caught:
        check(report)
    assert words in str(caught.value)

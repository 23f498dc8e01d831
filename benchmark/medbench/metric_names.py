"""The metrics and readings by name, apart from their computation so that naming them is cheap."""

from __future__ import annotations

#: Metrics that are one number, in the order in which they are shown.
METRICS = (
    "balanced_accuracy",
    "macro_f1",
    "accuracy",
    "mcc",
    "macro_auroc",
    "macro_ap",
    "brier",
    "nll",
    "ece",
    "ece_equal_mass",
    "worst_recall",
)

#: Metrics of which less is better.
LOWER_IS_BETTER = frozenset({"brier", "nll", "ece", "ece_equal_mass"})

#: The three readings of a run: mean of the last epochs, the epoch best on the
#: noisy validation set, the epoch best on the test set (optimistic).
READINGS = ("last", "selected", "best")

#: What a protocol may ask of its results; the board's docs say what each means.
QUESTIONS = ("pretraining", "pretraining-by-rate", "methods", "baseline", "pairs", "blocks")

"""What people call runs and pretrainings: the same in every message, file and page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def run_label(axes: Mapping[str, Any]) -> str:
    """Return the label of a run, from its axes."""
    refined = f" + {axes['acquisition']}" if axes.get("acquisition") else ""
    return "{dataset} {noise} {rate:g} {pretext} + {method}{refined} seed {seed}".format(
        **axes, refined=refined
    )


def pretraining_label(axes: Mapping[str, Any]) -> str:
    """Return the label of a pretraining, from dataset, pretext and seed."""
    return "pretraining {dataset} {pretext} seed {seed}".format(**axes)

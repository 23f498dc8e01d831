"""Settings of methods that select labels: jocor, confident-learning, disc, agreement.

Tags of the defaults: [P] the method's paper, [R] its reference code, [I] chosen
here, [?] not found.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from medbench.interfaces import MethodSettings
from medbench_plugins.methods.loss_settings import step_sgd
from medbench_plugins.methods.settings import HAN, ForgettingSettings


class JoCoRSettings(ForgettingSettings):
    """Settings of JoCoR: Co-teaching's schedule, and how much agreement counts."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {**HAN, "agreement": 0.9},
        "no-oracle": {**HAN, "agreement": 0.9, "forget_rate": "estimate"},
    }

    agreement: float = Field(
        0.9,
        ge=0,
        le=1,
        description="lambda, weight of the divergence between the networks against cross-entropy; "
        "the paper chooses among .05 to .95, .9 for CIFAR-10 [P]",
    )


class ConfidentLearningSettings(MethodSettings):
    """Settings of confident learning."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        # On CIFAR-10: a tenth at epochs 150 and 250 of 350 [R].
        "paper": {"folds": 4, "optimiser": step_sgd(0.1, 1e-4, 3 / 7, 0.1)},
    }

    folds: int = Field(4, ge=2, description="k, parts of the cross-validation [P]")
    fold_epochs: int | None = Field(
        None,
        ge=1,
        description="epochs of the cross-validation; the rest of the budget trains on what is "
        "kept; none takes half of the budget [I]",
    )


class DISCSettings(MethodSettings):
    """Settings of DISC."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        # On CIFAR up to a rate of .6: no momentum, a tenth at epochs 80 and 160 of 200 [R].
        "paper": {
            "warmup_epochs": 20,
            "momentum": 0.99,
            "margin": 0.5,
            "alpha": 5.0,
            "q": 0.7,
            "optimiser": {**step_sgd(0.1, 1e-3, 0.4, 0.1), "momentum": 0.0},
        },
    }

    warmup_epochs: int | None = Field(
        None,
        ge=0,
        description="epochs of cross-entropy before the first selection; none takes 20 [P], or "
        "half of a budget below 40 epochs [I]",
    )
    momentum: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="lambda, how much of its threshold a sample keeps in an epoch; none takes "
        ".99 [P], less for a budget below 200 epochs: 1 - 2 / epochs [I]",
    )
    margin: float = Field(
        0.5, ge=0, le=1, description="how far above its threshold a sample is relabelled [P]"
    )
    alpha: float = Field(5.0, gt=0, description="mix-up: l is drawn from Beta(alpha, alpha) [P]")
    q: float = Field(0.7, gt=0, le=1, description="q of the hard samples' loss, see gce [P]")


class AgreementSettings(MethodSettings):
    """Settings of selection by agreement."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {
            "optimiser": {
                "name": "adam",
                "lr": 1e-3,
                "weight_decay": 1e-5,
                "schedule": "constant",
            }
        },
    }

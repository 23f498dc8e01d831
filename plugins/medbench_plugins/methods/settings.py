"""Settings of the built-in methods; protocols are checked against them without torch.

Tags of the defaults: [P] the method's paper, [R] its reference code, [A] Khanal
et al.'s code, [I] chosen here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from medbench.interfaces import MethodSettings


class CrossEntropySettings(MethodSettings):
    """Settings of cross-entropy, by one network or two: those every method has."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        # Khanal et al.'s later code [A].
        "paper": {
            "optimiser": {
                "name": "sgd",
                "lr": 0.01,
                "momentum": 0.9,
                "weight_decay": 1e-4,
                "schedule": "cosine",
            }
        }
    }


#: Han et al. 2018: Adam; their linear fall of the rate from epoch 80 of 200 is no
#: schedule of ours, cosine is the nearest [I].
HAN: Mapping[str, Any] = {
    "warmup_epochs": 10,
    "exponent": 1.0,
    "optimiser": {
        "name": "adam",
        "lr": 1e-3,
        "weight_decay": 0.0,
        "schedule": "cosine",
    },
}

#: Khanal et al. 2024 (arXiv 2407.05973), the label-noise phase [A].
KHANAL: Mapping[str, Any] = {
    "warmup_epochs": 10,
    "exponent": 1.0,
    "optimiser": {
        "name": "sgd",
        "lr": 0.01,
        "momentum": 0.9,
        "weight_decay": 1e-4,
        "schedule": "cosine",
    },
}


class ForgettingSettings(MethodSettings):
    """Settings of methods that forget a share of each batch that grows to the noise rate."""

    forget_rate: float | Literal["estimate"] | None = Field(
        None,
        description="tau, the share of a batch forgotten in the end: a number in [0, 1]; none, or "
        "'oracle', asks the oracle for the true noise rate, as the paper does [P]; 'estimate' "
        "estimates it from the noisy labels, by confident learning [I]",
    )
    warmup_epochs: int | None = Field(
        None,
        ge=0,
        description="T_k, epochs over which the forget rate rises from 0 to tau where c = 1; "
        "none takes 10 [P], or half of a budget below 20 epochs [I]",
    )
    exponent: float = Field(
        1.0,
        gt=0,
        description="c: the forget rate is tau min(t^c / T_k, 1) in epoch t; 1 is linear, 2 "
        "reaches tau after sqrt(T_k) epochs, .5 after T_k^2 [P]",
    )

    @property
    def asks_oracle(self) -> bool:
        """Whether tau is the true noise rate."""
        return self.forget_rate is None

    @field_validator("forget_rate", mode="before")
    @classmethod
    def _rate(cls, value: Any) -> Any:
        # "oracle" says what none says: one outcome, one run key.
        if value is None or value == "oracle":
            return None
        if value == "estimate":
            return value
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if number and 0 <= value <= 1:
            return float(value)
        raise ValueError("must be a number in [0, 1], 'oracle' or 'estimate'")


class SmallLossSettings(ForgettingSettings):
    """Settings of small-loss selection by one network: Co-teaching's."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": HAN,
        "khanal": KHANAL,
        "no-oracle": {**HAN, "forget_rate": "estimate"},
    }


class CoTeachingSettings(ForgettingSettings):
    """Settings of Co-teaching."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {**HAN, "predict_with": "first"},
        "khanal": {**KHANAL, "predict_with": "first"},
        "no-oracle": {**HAN, "predict_with": "first", "forget_rate": "estimate"},
    }

    predict_with: Literal["first", "mean"] = Field(
        "first",
        description="network 1 alone, as the paper scores each network on its own [P], "
        "or the mean of both networks' probabilities, an ensemble the paper does not use [I]",
    )


#: Khanal et al. 2024 [P].
VOG: Mapping[str, Any] = {"predict_with": "first", "vog_share": 0.2, "vog_window": 5}


class CoTeachingVOGSettings(CoTeachingSettings):
    """Settings of Co-teaching with Variance of Gradients."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {**KHANAL, **VOG},
        "no-oracle": {**KHANAL, **VOG, "forget_rate": "estimate"},
    }

    vog_share: float = Field(
        0.2, ge=0, le=1, description="m, share of the kept samples that VOG chooses [P]"
    )
    vog_window: int = Field(
        5, ge=2, description="epochs over which the gradients' deviation is taken [P]"
    )


#: Li et al. 2020 on CIFAR-10 [P, R]; lambda_u as for a rate of .5.
PAPER: Mapping[str, Any] = {
    "warmup_epochs": 10,
    "p_threshold": 0.5,
    "temperature": 0.5,
    "alpha": 4.0,
    "lambda_u": 25.0,
    "rampup_epochs": 16.0,
    "lambda_prior": 1.0,
    "prior": "uniform",
    "loss_history": 1,
    "optimiser": {
        "name": "sgd",
        "lr": 0.02,
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "schedule": "step",
        "step_at": 0.5,
        "step_factor": 0.1,
    },
}


class DivideMixSettings(MethodSettings):
    """Settings of DivideMix."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": PAPER,
        # At a rate of .9 on CIFAR-100: the authors' answer to users (issue 10 of
        # their repository); losses averaged over five epochs [R].
        "high-noise": {**PAPER, "lambda_u": 150.0, "p_threshold": 0.6, "loss_history": 5},
        # Asymmetric noise on CIFAR-10: the authors' answer to users (issue 15).
        "asymmetric": {**PAPER, "lambda_u": 0.0},
        # Asks nothing: noise is taken for symmetric. lambda_u is a choice of the
        # user's here, not one made on the rate.
        "no-oracle": {**PAPER, "asymmetric": False},
        # C2D (Zheltonozhskii et al. 2022), where SimCLR's weights are the start.
        "after-pretraining": {**PAPER, "p_threshold": 0.03},
        # The penalty pulls predictions towards equal classes, which imbalanced sets
        # do not have [I].
        "imbalanced": {**PAPER, "prior": "labels"},
    }

    warmup_epochs: int | None = Field(
        None,
        ge=0,
        description="epochs of plain cross-entropy before the first division; "
        "none takes 10 [P], or half of a budget below 20 epochs [I]",
    )
    p_threshold: float = Field(
        0.5,
        ge=0,
        le=1,
        description="a label is believed if it is clean with a probability above this [P]; "
        "the authors take .6 at a rate of .9, C2D .03 after self-supervised pretraining",
    )
    temperature: float = Field(0.5, gt=0, description="T, sharpening of guessed labels [P]")
    alpha: float = Field(4.0, gt=0, description="mix-up: l is drawn from Beta(alpha, alpha) [P]")
    lambda_u: float = Field(
        25.0,
        ge=0,
        description="weight of the unlabelled samples' loss [R]; the paper chooses among 0, 25, 50 "
        "and 150 on validation data, users and authors report 0 at a rate of .2 and for asymmetric "
        "noise, 150 at .9",
    )
    rampup_epochs: float | None = Field(
        None,
        ge=0,
        description="epochs after warm-up over which lambda_u grows from 0; "
        "none takes 16 [R], or half of a budget below 32 epochs [I]",
    )
    lambda_prior: float = Field(
        1.0, ge=0, description="weight of the penalty on class shares far from the prior [P]"
    )
    prior: Literal["uniform", "labels"] = Field(
        "uniform",
        description="class shares that predictions are pulled to: all equal [P], or those of the "
        "noisy labels, for imbalanced sets [I]",
    )
    asymmetric: bool | None = Field(
        None,
        description="whether to penalise certainty during warm-up, meant for asymmetric noise; "
        "none asks the oracle whether the noise is symmetric [P]",
    )
    loss_history: int = Field(
        1,
        ge=1,
        description="epochs over which the normalised losses are averaged before the division; "
        "the reference takes 5 at a rate of .9 [R]",
    )

    @property
    def asks_oracle(self) -> bool:
        """Whether the oracle says if the noise is symmetric."""
        return self.asymmetric is None

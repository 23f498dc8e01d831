"""Settings of methods that change the loss: gce, sce, elr, forward, volminnet.

Tags of the defaults: [P] the method's paper, [R] its reference code, [I] chosen
here, [?] not found.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from medbench.interfaces import MethodSettings


def step_sgd(lr: float, weight_decay: float, step_at: float, step_factor: float) -> dict[str, Any]:
    """Return the settings of SGD with momentum .9 whose rate falls once."""
    return {
        "name": "sgd",
        "lr": lr,
        "momentum": 0.9,
        "weight_decay": weight_decay,
        "schedule": "step",
        "step_at": step_at,
        "step_factor": step_factor,
    }


#: Zhang and Sabuncu on CIFAR-10, also Wang et al.: a tenth at epochs 40 and 80 of 120;
#: the second fall is not a schedule of ours [P].
STEP: Mapping[str, Any] = step_sgd(0.01, 1e-4, 1 / 3, 0.1)
COSINE: Mapping[str, Any] = {**STEP, "schedule": "cosine"}


class GCESettings(MethodSettings):
    """Settings of generalised cross-entropy."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"q": 0.7, "optimiser": STEP},
        "truncated": {"q": 0.7, "truncate": 0.5, "optimiser": STEP},
    }

    q: float = Field(0.7, gt=0, le=1, description="q: near 0 cross-entropy, 1 absolute error [P]")
    truncate: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="k: samples with p_y at most k are pruned; none prunes nothing, .5 is the "
        "paper's truncated form [P]",
    )
    prune_start: int | None = Field(
        None,
        ge=0,
        description="epoch of the first pruning; none takes 40 [P], or half of a budget below 80 "
        "epochs [I]",
    )
    prune_every: int = Field(10, ge=1, description="epochs from one pruning to the next [P]")


class SCESettings(MethodSettings):
    """Settings of symmetric cross-entropy and of NCE+RCE."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"alpha": 0.1, "beta": 1.0, "normalised": False, "optimiser": STEP},
        "many-classes": {"alpha": 6.0, "beta": 0.1, "normalised": False, "optimiser": STEP},
        # Ma et al. 2020: NCE+RCE on CIFAR-10 and CIFAR-100 [P].
        "nce-rce": {"alpha": 1.0, "beta": 1.0, "normalised": True, "optimiser": COSINE},
        "nce-rce-many-classes": {
            "alpha": 10.0,
            "beta": 0.1,
            "normalised": True,
            "optimiser": COSINE,
        },
    }

    alpha: float = Field(0.1, ge=0, description="weight of cross-entropy; 6 for 100 classes [P]")
    beta: float = Field(
        1.0, ge=0, description="weight of reverse cross-entropy; .1 for 100 classes [P]"
    )
    log_zero: float = Field(
        -4.0, lt=0, description="A, used for log 0 [P]; reference code has -9.21"
    )
    normalised: bool = Field(
        False, description="whether cross-entropy is divided by its sum over all classes (NCE)"
    )


#: Liu et al. on CIFAR-10: a hundredth at epochs 40 and 80 of 120 [R].
ELR_STEP: Mapping[str, Any] = step_sgd(0.02, 1e-3, 1 / 3, 0.01)


class ELRSettings(MethodSettings):
    """Settings of early-learning regularisation."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"momentum": 0.7, "weight": 3.0, "optimiser": ELR_STEP},
        "asymmetric": {"momentum": 0.9, "weight": 1.0, "optimiser": ELR_STEP},
        "many-classes": {"momentum": 0.9, "weight": 7.0, "optimiser": ELR_STEP},
    }

    momentum: float = Field(
        0.7,
        ge=0,
        lt=1,
        description="beta, how much of its target a sample keeps in an epoch; .9 for asymmetric "
        "noise and for 100 classes [P]",
    )
    weight: float = Field(
        3.0,
        ge=0,
        description="lambda, weight of the regularisation; 1 for asymmetric noise, 7 for 100 "
        "classes [P]",
    )


#: Patrini et al. on CIFAR-10: a tenth at epochs 40 and 80 of 120 [R].
FORWARD_STEP: Mapping[str, Any] = step_sgd(0.1, 1e-4, 1 / 3, 0.1)


class ForwardSettings(MethodSettings):
    """Settings of forward correction."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"optimiser": FORWARD_STEP},
        "no-oracle": {"matrix": "estimate", "optimiser": FORWARD_STEP},
    }

    matrix: Literal["oracle", "estimate"] = Field(
        "oracle",
        description="T: 'oracle' asks for the true transition matrix, the upper bound; 'estimate' "
        "reads it from the network after a warm-up with cross-entropy [P]",
    )
    warmup_epochs: int | None = Field(
        None,
        ge=1,
        description="epochs of cross-entropy before T is estimated; none takes 10, or half of a "
        "budget below 20 epochs [I]",
    )

    @property
    def asks_oracle(self) -> bool:
        """Whether T is the true one."""
        return self.matrix == "oracle"


class VolMinNetSettings(MethodSettings):
    """Settings of VolMinNet."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        # On CIFAR-10: a tenth at epochs 30 and 60 of 80 [R].
        "paper": {"weight": 1e-4, "start": -2.0, "optimiser": step_sgd(0.01, 1e-4, 0.375, 0.1)},
    }

    weight: float = Field(1e-4, ge=0, description="lambda, weight of log det T [P]")
    start: float = Field(
        -2.0,
        description="w at the start: off-diagonal entries of T are sigmoid(w) before rows are "
        "divided by their sums; -2 [R] gives a diagonal above 1/2 for up to 9 classes",
    )

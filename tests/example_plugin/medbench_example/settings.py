"""Settings of the plugins. Loads no torch, so that protocols are checked in a moment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from medbench.interfaces import MethodSettings, PretextSettings, Settings


class ExampleShapesSettings(Settings):
    """Settings of the dataset."""

    per_class: int = Field(30, ge=6, le=1000, description="images drawn of each class")


class HiddenCellSettings(PretextSettings):
    """Settings of the pretext."""

    cells: int = Field(3, ge=2, le=8, description="cells along each side of the image")


class GeneralisedCrossEntropySettings(MethodSettings):
    """Settings of the method."""

    q: float = Field(
        0.7, gt=0, le=1, description="towards 0 cross-entropy, at 1 mean absolute error"
    )

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": {"q": 0.7}}

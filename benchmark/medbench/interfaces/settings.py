"""Typed settings of plugins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Base of every plugin's settings: typed, frozen, unknown keys refused.

    Give each field a type, a default, a range (``pydantic.Field(ge=..., le=...)``)
    and a description: ``medbench show`` prints them and protocols are checked
    against them before anything runs.
    """

    #: Named sets of values that a protocol can start from with ``preset = "..."``.
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    # settings become part of the run key as JSON, which knows no infinity and no NaN
    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )

"""Settings of the built-in acquisition functions."""

from __future__ import annotations

from pydantic import Field

from medbench.interfaces import Settings


class BALDSettings(Settings):
    """Settings of BALD."""

    passes: int = Field(20, ge=2, le=1000, description="S, forward passes with dropout [I]")

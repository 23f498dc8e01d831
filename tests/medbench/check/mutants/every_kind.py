"""Faults that a plugin of any kind can have."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from medbench.interfaces import Settings
from mutants.registry import breaks
from mutants.sound import SoundNoise


@breaks("plugin", "summary")
class NoSummary(SoundNoise):
    """Is announced without a line that says what it does (nobody, 2020)."""

    summary = "noise"


@breaks("plugin", "description")
class NoDescription(SoundNoise):
    """(2020)"""


@breaks("plugin", "source")
class NoSource(SoundNoise):
    """Flips to the next class, and says not whose idea that was."""

    summary = "flips to the next class"


class Undescribed(Settings):
    """Settings."""

    shift: int = 1


@breaks("plugin", "settings-described")
class SettingsUndescribed(SoundNoise):
    """Flips to the next class, with a secret setting (nobody, 2020)."""

    Settings = Undescribed


class Required(Settings):
    """Settings."""

    shift: int = Field(description="by how many classes")


@breaks("plugin", "settings-default")
class SettingsRequired(SoundNoise):
    """Flips to the next class, if told to (nobody, 2020)."""

    Settings = Required


class Forgetful(Settings):
    """Settings."""

    shift: int = Field(1, description="by how many classes", exclude=True)


@breaks("plugin", "settings-keep")
class SettingsForgetful(SoundNoise):
    """Flips to the next class, and forgets its settings (nobody, 2020)."""

    Settings = Forgetful
    given: ClassVar[dict[str, Any]] = {"shift": 2}


class Lenient(Settings, extra="ignore"):
    """Settings."""


@breaks("plugin", "settings-refuse")
class SettingsLenient(SoundNoise):
    """Flips to the next class at any rate (nobody, 2020)."""

    Settings = Lenient


class WrongPreset(Settings):
    """Settings."""

    presets: ClassVar[Any] = {"paper": {"no_such": 1}}


@breaks("plugin", "presets")
class PresetWrong(SoundNoise):
    """Flips to the next class, with a preset that is none (nobody, 2020)."""

    Settings = WrongPreset

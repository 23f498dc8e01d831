"""Option types of intervals and durations."""

from __future__ import annotations

import re

import click

_SECONDS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


class Interval(click.ParamType):  # type: ignore[type-arg]  # generic in newer click only
    """``30s``, ``5m``, ``1h``, ``10 epochs`` or ``never``, as (seconds, epochs)."""

    name = "interval"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float | None, int | None]:
        """Return seconds or epochs, the other ``None``; both ``None`` for ``never``."""
        if isinstance(value, tuple):
            return value
        text = str(value).strip().lower()
        if text == "never":
            return None, None
        if found := re.fullmatch(r"([1-9]\d*) *epochs?", text):
            return None, int(found[1])
        if (seconds := _seconds(text)) is not None:
            return seconds, None
        raise click.BadParameter(
            f"{value!r} is no interval; say for example 30s, 5m, 1h, '10 epochs' or never",
            ctx,
            param,
        )


class Duration(click.ParamType):  # type: ignore[type-arg]  # generic in newer click only
    """``30s``, ``5m`` or ``1h``, in seconds."""

    name = "duration"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return seconds."""
        if isinstance(value, float):
            return value
        if (seconds := _seconds(str(value).strip().lower())) is not None:
            return seconds
        raise click.BadParameter(
            f"{value!r} is no duration; say for example 30s, 5m or 1h", ctx, param
        )


def _seconds(text: str) -> float | None:
    found = re.fullmatch(r"(\d+(?:\.\d+)?) *(s|min|m|h)", text)
    return float(found[1]) * _SECONDS[found[2]] if found and float(found[1]) > 0 else None

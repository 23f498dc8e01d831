"""The option type of ``--checkpoint-every``."""

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
        found = re.fullmatch(r"(\d+(?:\.\d+)?) *(s|min|m|h)", text)
        if found and float(found[1]) > 0:
            return float(found[1]) * _SECONDS[found[2]], None
        raise click.BadParameter(
            f"{value!r} is no interval; say for example 30s, 5m, 1h, '10 epochs' or never",
            ctx,
            param,
        )

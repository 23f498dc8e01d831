"""Where protocols are found by name. Loads no pydantic, so that listing is quick."""

from __future__ import annotations

from pathlib import Path

from medbench.plugins.registry import Registry

_SHIPPED = Path(__file__).parent / "protocols"


def protocol_paths(registry: Registry) -> dict[str, Path]:
    """Return the protocols of medbench and of plugins, by name; medbench's own win."""
    own = {path.stem: path for path in sorted(_SHIPPED.glob("*.toml"))}
    return {**registry.protocols, **own}

"""What must be the same in records that are compared, as short hashes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medbench.canonical import canonical_json, sha256


def agreement(spec: Mapping[str, Any]) -> dict[str, str]:
    """Return hashes of what must agree inside a block, and over all seeds of an entrant.

    Parameters
    ----------
    spec : mapping
        Everything that decided a run's outcome.

    Returns
    -------
    dict of str to str
        ``settings``: of all but pretext, pretraining, method, acquisition and seed.
        ``entrant_settings``: of those four without their seeds.
        ``data_hash``: the dataset's content hash.
    """
    shared = dict(spec)
    entrant = {name: shared.pop(name, None) for name in ("method", "pretext", "pretraining")}
    if refinement := shared.get("refinement"):
        shared["refinement"] = refinement["options"]
        entrant["acquisition"] = refinement["acquisition"]
    shared.pop("seed", None)
    entrant["pretraining"] = _unseeded(entrant["pretraining"])
    return {
        "settings": sha256(canonical_json(shared))[:12],
        "entrant_settings": sha256(canonical_json(entrant))[:12],
        "data_hash": str((shared.get("dataset") or {}).get("content_hash") or ""),
    }


def _unseeded(step: Any) -> Any:
    """Take the seed out of the spec of a pretraining and of those before it."""
    if not isinstance(step, Mapping):
        return step
    rest = {name: value for name, value in step.items() if name != "seed"}
    return {**rest, "parent": _unseeded(rest.get("parent"))}

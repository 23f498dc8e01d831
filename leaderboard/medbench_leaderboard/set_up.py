"""What was run, as a paragraph for a paper, with the numbers of the protocol and the records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medbench import Protocol
from medbench.errors import StoreError
from medbench.plain import many
from medbench.results import Results
from medbench_leaderboard.board import Board
from medbench_leaderboard.names import listed

#: Tables of plugins' settings and what they are called.
_PLUGINS = ("datasets", "noise", "pretexts", "methods", "acquisitions")


def set_up(results: Results, board: Board) -> str:
    """Return what was run, in the past tense: of the plan's runs, those that are done."""
    protocol, runs = results.protocol, board.runs
    done = runs[runs["status"] == "done"]
    sentences = [
        f"The protocol {protocol.name} (root seed {protocol.root_seed}) has {_count(runs)}: "
        f"datasets {_names(runs, 'dataset')}, noise {_noise(runs)}, pretexts "
        f"{_names(runs, 'pretext')}, methods {_names(runs, 'method')}, "
        f"{many(runs['seed'].nunique(), 'seed')}.",
        f"{'All' if len(done) == len(runs) else f'{len(done)} of them'} were done.",
        *_tables(protocol),
        _software(results, done["run_key"].tolist()),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _count(runs: Any) -> str:
    return many(len(runs), "run")


def _names(runs: Any, axis: str) -> str:
    return listed([str(name) for name in runs[axis].unique()])


def _noise(runs: Any) -> str:
    """Return each noise model with its rates, and on which datasets where they differ."""
    rates: dict[str, dict[str, tuple[float, ...]]] = {}
    for (noise, dataset), part in runs.groupby(["noise", "dataset"], sort=False):
        rates.setdefault(noise, {})[dataset] = tuple(sorted(part["rate"].unique()))
    said = []
    for noise, by_dataset in rates.items():
        if len(set(by_dataset.values())) == 1:
            said.append(f"{noise} at {_rates(next(iter(by_dataset.values())))}")
        else:
            each = [f"{_rates(found)} on {name}" for name, found in by_dataset.items()]
            said.append(f"{noise} at {listed(each)}")
    return "; ".join(said)


def _rates(rates: tuple[float, ...]) -> str:
    return listed([f"{rate:g}" for rate in rates])


def _tables(protocol: Protocol) -> list[str]:
    """Return a sentence on each table of the protocol, and on what differs from it."""
    images = protocol.images
    counts = {"training": images.train, "validation": images.validation, "test": images.test}
    of_each = [f"{'all' if n is None else n} {split}" for split, n in counts.items()]
    backbone = protocol.backbone.model_dump()
    name = backbone.pop("name")
    trained = "" if protocol.training.backbone == "whole" else ", which was frozen"
    said = [
        f"Images had {images.size} px; {listed(of_each)} images were used of each dataset.",
        f"The backbone was {name}{_settings(backbone)}{trained}.",
        f"Pretraining took {_stage(protocol.pretraining)}, training {_stage(protocol.training)}.",
    ]
    changed = [
        f"{axis.removesuffix('s')} {name}{_settings(table)}"
        for axis in _PLUGINS
        for name, table in getattr(protocol, axis).items()
    ]
    changed += [
        f"dataset {name}{_settings(table.model_dump(exclude_defaults=True))}"
        for name, table in protocol.overrides.items()
    ]
    if changed:
        said.append(f"Settings other than the defaults: {'; '.join(changed)}.")
    return said


def _stage(stage: Any) -> str:
    optimiser = stage.optimiser
    return (
        f"{many(stage.epochs, 'epoch')} with batches of {stage.batch_size} and {optimiser.name} "
        f"(learning rate {optimiser.lr:g})"
    )


def _settings(values: Mapping[str, Any]) -> str:
    """Return settings in brackets, tables inside by their path; nothing where there are none."""
    flat = list(_flattened(values))
    return f" ({', '.join(f'{name} {value}' for name, value in flat)})" if flat else ""


def _flattened(values: Mapping[str, Any], before: str = "") -> Any:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _software(results: Results, keys: list[str]) -> str:
    """Return versions and processor, as the first finished run's record has them."""
    for key in keys:
        try:
            made = results.header(key).metadata.get("provenance", {})
        except StoreError:
            continue
        libraries = made.get("libraries", {})
        named = [f"{name} {libraries[name]}" for name in ("torch", "numpy") if name in libraries]
        if "medbench" in made:
            where = made.get("device") if made.get("device") != "cpu" else made.get("cpu") or "CPU"
            versions = listed([f"medbench {made['medbench']}", *named])
            return f"Software: {versions}, Python {made.get('python', '?')}; processor: {where}."
    return ""

"""``medbench doctor``."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import click

from medbench import __version__
from medbench.cli.common import cache_option, card_of, json_option, print_json
from medbench.folders import RESULTS
from medbench.interfaces.dataset import DataContext
from medbench.plain import many
from medbench.plugins.kinds import KINDS, kind_named
from medbench.plugins.prepared import prepared_names
from medbench.plugins.registry import discover
from medbench.store.processes import cores

State = Literal["ok", "note", "fault"]


@dataclass(frozen=True)
class Finding:
    """The result of one check: its state and what to do."""

    what: str
    state: State
    text: str


@click.command(
    epilog="""\b
Examples:
  medbench doctor
  medbench doctor --json"""
)
@cache_option
@json_option
def doctor(cache: Path, as_json: bool) -> int:
    """Check this installation and machine: versions, GPU, plugins, datasets, folders.

    Exit status: 0, or 1 if there is a fault.
    """
    checks: list[Callable[[], list[Finding]]] = [
        _versions,
        _torch,
        _plugins,
        lambda: _datasets(cache),
        lambda: [_folder("cache", cache), _folder("results", RESULTS)],
    ]
    findings = [finding for check in checks for finding in check()]
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        width = max(len(finding.what) for finding in findings)
        for finding in findings:
            click.echo(f"{finding.state:5} {finding.what:{width}}  {finding.text}")
    return 1 if any(finding.state == "fault" for finding in findings) else 0


def _versions() -> list[Finding]:
    texts = [f"medbench {__version__}", f"Python {platform.python_version()}", platform.platform()]
    findings = [Finding("medbench", "ok", ", ".join(texts))]
    for name in ("torch", "torchvision", "numpy", "scipy", "scikit-learn", "h5py", "pydantic"):
        try:
            findings.append(Finding(name, "ok", version(name)))
        except PackageNotFoundError:
            findings.append(Finding(name, "fault", "not installed; install medbench again"))
    return [*findings, Finding("CPU", "ok", many(cores(), "core"))]


def _torch() -> list[Finding]:
    try:
        import torch
    except ImportError as error:
        return [Finding("GPU", "fault", f"torch cannot be imported: {error}")]
    if not torch.cuda.is_available():
        return [Finding("GPU", "note", "none that torch can use; runs use the CPU")]
    return [
        Finding("GPU", "ok", f"cuda:{index} {torch.cuda.get_device_name(index)}")
        for index in range(torch.cuda.device_count())
    ]


#: What people call the kinds of which the name is not a noun to count.
_WORDS = {"noise": "noise model", "acquisition": "acquisition function"}


def _plugins() -> list[Finding]:
    registry = discover(thorough=True)
    counts = ", ".join(
        many(len(registry.of_kind(kind)), _WORDS.get(kind.name, kind.name)) for kind in KINDS
    )
    findings = [Finding("plugins", "ok", counts)]
    findings += [
        Finding(f"plugin {fault.entry_point}", "fault", f"{fault.distribution}: {fault.reason}")
        for fault in registry.broken
    ]
    findings += [
        Finding(f"{entry.kind.name} {entry.name}", "note", f"{entry.who}: {note}")
        for entry in registry.entries.values()
        for note in entry.notes
    ]
    return findings


def _datasets(cache: Path) -> list[Finding]:
    registry, context = discover(), DataContext(cache)
    states = {
        entry.name: card_of(entry, context) for entry in registry.of_kind(kind_named("dataset"))
    }
    ready = {name: None for name, (state, _, _) in states.items() if state == "ready"}
    own = dict.fromkeys(prepared_names(registry, context))
    rest = sum(state == "not prepared" for state, _, _ in states.values())
    more = f"; {rest} not prepared, see `medbench data list`" if rest else ""
    return [
        Finding("datasets", "ok", f"ready: {', '.join(ready | own) or 'none'}{more}"),
        *(
            Finding(f"dataset {name}", "fault", fix)
            for name, (state, _, fix) in states.items()
            if state == "broken"
        ),
    ]


def _folder(what: str, path: Path) -> Finding:
    whole = path.absolute()
    existing = next(each for each in (whole, *whole.parents) if each.exists())
    free = shutil.disk_usage(existing).free / 1e9
    if not (existing.is_dir() and os.access(existing, os.W_OK)):
        return Finding(f"{what} folder", "fault", f"{path} cannot be written")
    return Finding(f"{what} folder", "ok", f"{path}, {free:.0f} GB free")

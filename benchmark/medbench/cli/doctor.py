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
from medbench.cli.common import cache_option, json_option, print_json
from medbench.errors import MedbenchError, NotPreparedError
from medbench.folders import RESULTS
from medbench.interfaces.dataset import DataContext
from medbench.plain import format_error
from medbench.plugins.kinds import KINDS, kind_named
from medbench.plugins.registry import discover


@dataclass(frozen=True)
class Finding:
    """The result of one check: its state and what to do."""

    what: str
    state: Literal["ok", "note", "fault"]
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
        _cores,
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
    return findings


def _cores() -> list[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return [Finding("CPU", "ok", f"{cores} cores")]


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


def _plugins() -> list[Finding]:
    registry = discover(thorough=True)
    counts = ", ".join(f"{len(registry.of_kind(kind))} {kind.axis}" for kind in KINDS)
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
    findings = []
    for entry in discover().of_kind(kind_named("dataset")):
        try:
            card = entry.create(entry.name, entry.plugin.defaults).card(DataContext(cache))
            images = sum(card.split_sizes.values())
            findings.append(Finding(f"dataset {entry.name}", "ok", f"{images} images"))
        except NotPreparedError as error:
            findings.append(Finding(f"dataset {entry.name}", "note", str(error)))
        except MedbenchError as error:
            findings.append(Finding(f"dataset {entry.name}", "fault", str(error)))
        except Exception as error:  # noqa: BLE001 - any fault of foreign code
            text = f"{entry.who} is broken: {format_error(error)}"
            findings.append(Finding(f"dataset {entry.name}", "fault", text))
    return findings


def _folder(what: str, path: Path) -> Finding:
    existing = next(
        parent for parent in [path.absolute(), *path.absolute().parents] if parent.exists()
    )
    free = shutil.disk_usage(existing).free / 1e9
    if not (existing.is_dir() and os.access(existing, os.W_OK)):
        return Finding(f"{what} folder", "fault", f"{path} cannot be written")
    return Finding(f"{what} folder", "ok", f"{path}, {free:.0f} GB free")

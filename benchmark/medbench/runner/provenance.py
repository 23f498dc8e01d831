"""Where a result comes from: versions, machine, device, plugins, code, protocol."""

from __future__ import annotations

import platform
import re
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

import torch

import medbench
from medbench.interfaces.executor import Job
from medbench.plugins.kinds import kind_named
from medbench.plugins.registry import Registry
from medbench.protocol.spec import PretrainingSpec, RunSpec
from medbench.runner.origin import LIBRARIES, version_of


def provenance(registry: Registry, job: Job) -> dict[str, Any]:
    """Return what made a result: true, but not under its digest."""
    return {
        "medbench": medbench.__version__,
        "host": platform.node(),
        **machine(),
        "device": _device(job.device),
        "gpu": _gpu(job.device),
        "attempt": job.attempt,
        "plugins": _plugins(registry, job.spec),
        "credits": _credits(registry, job.spec),
        **job.origin,
    }


@cache
def machine() -> dict[str, Any]:
    """Return what is the same for all jobs on a machine; the server that forks them asks once."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "os": _os(),
        "cpu": _cpu(),
        "libraries": {name: version_of(name) for name in LIBRARIES},
    }


def made_by(registry: Registry, job: Job) -> dict[str, Any]:
    """Return what must be the same for a job to continue from a checkpoint.

    Versions of all that computes and the kind of device. The training process compares the
    source of the plugins in use. The model of the CPU or GPU is not included: on a mixed
    cluster hardly any job could continue.
    """
    major, minor, _ = platform.python_version_tuple()
    return {
        "medbench": medbench.__version__,
        "python": f"{major}.{minor}",
        "system": f"{platform.system()} {platform.machine()}",
        "device": job.device.partition(":")[0],
        "libraries": {name: version_of(name) for name in LIBRARIES},
        "plugins": _plugins(registry, job.spec),
    }


def _plugins(registry: Registry, spec: RunSpec | PretrainingSpec) -> dict[str, str]:
    """Return distribution and version of each plugin in use; of a curriculum, of each step."""
    found: dict[str, list[str]] = {}
    for kind, plugin in spec.plugins():
        entry = registry.get(kind_named(kind), plugin.plugin)
        origin = f"{entry.name} ({entry.distribution} {entry.version})"
        found.setdefault(kind, []).append(origin)
    return {kind: ", then ".join(origins) for kind, origins in found.items()}


def _credits(registry: Registry, spec: RunSpec | PretrainingSpec) -> dict[str, dict[str, str]]:
    """Return what the board says of each plugin of a run, by kind and name.

    It is saved with the run, since the plugin may not be installed where the board is made.
    """
    credits = {}
    for kind, used in spec.plugins():
        if kind != "dataset":
            entry = registry.get(kind_named(kind), used.plugin)
            credits[f"{kind} {used.plugin}"] = {
                "summary": entry.plugin.summary,
                "citation": entry.plugin.citation,
                "family": entry.plugin.family,
                "distribution": entry.distribution,
                "version": entry.version,
                "author": author_of(entry.distribution),
            }
    return credits


@cache
def author_of(distribution: str) -> str:
    """Return who a distribution says made it; empty where it says nothing."""
    try:
        about = metadata(distribution)
    except PackageNotFoundError:
        return ""
    names = ("Author", "Author-email", "Maintainer", "Maintainer-email")
    return next((str(about[name]) for name in names if name in about), "")


def _device(device: str) -> str:
    if device.startswith("cuda"):
        return f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}"
    return "cpu"


def _gpu(device: str) -> dict[str, Any] | None:
    if not device.startswith("cuda"):
        return None
    properties = torch.cuda.get_device_properties(device)
    return {
        "name": properties.name,
        "bytes": int(properties.total_memory),
        "capability": f"{properties.major}.{properties.minor}",
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        "driver": driver_version(),
    }


def driver_version(file: Path = Path("/proc/driver/nvidia/version")) -> str | None:
    """Return the version of NVIDIA's driver as its kernel module gives it."""
    try:
        found = re.search(r"Kernel Module.*?\s(\d+\.\d+(?:\.\d+)?)\s", file.read_text("utf-8"))
    except OSError:
        return None
    return found.group(1) if found else None


def _os() -> str:
    name = ""
    with suppress(OSError):
        name = platform.freedesktop_os_release().get("PRETTY_NAME", "")
    return f"{name or platform.system()}, kernel {platform.release()}"


def _cpu() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if "model name" in line:
                return line.partition(":")[2].strip()
    return platform.processor()

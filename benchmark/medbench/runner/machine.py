"""The machine a command runs on: which device computes, how many jobs run at once."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from medbench.errors import DeviceError
from medbench.store.parallel import cores


def default_jobs(devices: Sequence[str], threads: int) -> int:
    """Return how many jobs run at once by default: one a GPU, else cores by threads."""
    if devices[0].startswith("cuda"):
        return len(devices)
    return max(1, cores() // threads)


def devices_of(device: str) -> list[str]:
    """Return the devices that jobs are spread over: for ``"cuda"`` every GPU that torch sees."""
    if device != "cuda":
        return [device]
    import torch

    return [f"cuda:{index}" for index in range(torch.cuda.device_count())]


def resolve_device(device: str) -> str:
    """Turn ``auto`` into a device, and check that a GPU that was asked for exists.

    torch is imported only where an NVIDIA driver is found or a GPU was asked for.

    Raises
    ------
    DeviceError
        If the device is unknown or missing.
    """
    if device == "cpu":
        return device
    if device == "auto" and not (
        Path("/proc/driver/nvidia").exists() or shutil.which("nvidia-smi")
    ):
        return "cpu"
    if device != "auto" and not (
        device == "cuda" or (device.startswith("cuda:") and device[5:].isdigit())
    ):
        raise DeviceError(f"--device {device} is unknown; use auto, cpu, cuda or cuda:N")
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto":
        return "cuda" if count else "cpu"
    wanted = int(device[5:]) if ":" in device else 0
    if wanted >= count:
        raise DeviceError(
            f"--device {device} was asked for, but torch {torch.__version__} sees {count} GPUs; "
            "use --device cpu, or check the driver with `medbench doctor`"
        )
    return device

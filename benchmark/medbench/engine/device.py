"""Devices, precision and determinism."""

from __future__ import annotations

import ctypes
import os
from contextlib import AbstractContextManager, suppress
from typing import Any

import torch

from medbench.errors import DeviceError
from medbench.interfaces.options import ComputeOptions

_VISIBLE = "CUDA_VISIBLE_DEVICES"

#: M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc's ``malloc.h``, and their values in bytes.
_ALLOCATION = ((-1, 64 * 1024**2), (-3, 8 * 1024**2))


def visible_alone(device: str, visible: str | None) -> str:
    """Return what ``CUDA_VISIBLE_DEVICES`` must be for one GPU to be the only one.

    Parameters
    ----------
    device : str
        ``"cuda:N"``: the N-th of those visible now, from 0.
    visible : str, optional
        What the variable is now: numbers or names, separated by commas.
    """
    index = device.removeprefix("cuda:")
    return visible.split(",")[int(index)].strip() if visible else index


def prepare_process(compute: ComputeOptions, device: str) -> torch.device:
    """Set this process up for reproducible work on ``device``.

    Raises
    ------
    DeviceError
        If CUDA is asked for and not there.
    """
    _keep_freed_memory()
    torch.set_num_threads(compute.threads)
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False  # float32 means float32 in convolutions too
    if compute.deterministic:
        # cuBLAS needs a fixed workspace to repeat bit for bit
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
        torch.use_deterministic_algorithms(True)
        # filling new memory serves to find reads before writes, at an eighth of the time
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark = False
    if device.startswith("cuda:") and not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        # what a plugin calls "cuda" is then its own device and no other run's
        os.environ[_VISIBLE] = visible_alone(device, os.environ.get(_VISIBLE))
        device = "cuda:0"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise DeviceError(
            f"device {device} was asked for, but torch {torch.__version__} sees no GPU; "
            "use --device cpu, or install a CUDA build of torch and check the driver"
        )
    return torch.device(device)


def _keep_freed_memory() -> None:
    """Let glibc keep what a step frees for the next one, and give large tensors back at once.

    By itself it gives memory back to the system after each step and gets it page by page for
    the next, which takes a third of a prediction of small images; and tensors of up to 32 MiB
    lie between others, so that large images hold a sixth more than they need.
    """
    with suppress(AttributeError, OSError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in _ALLOCATION:
            mallopt(parameter, value)


def autocast(device: torch.device, compute: ComputeOptions) -> AbstractContextManager[Any]:
    """Enter the protocol's precision; float32 changes nothing."""
    return torch.autocast(
        device.type, dtype=torch.bfloat16, enabled=compute.precision == "bfloat16"
    )


def memory_format(compute: ComputeOptions) -> torch.memory_format:
    """Return the memory layout the protocol asks for."""
    return torch.channels_last if compute.channels_last else torch.contiguous_format

"""The built-in plugins, announced through the hooks that third parties use.

Importing this package imports no plugin's code and no torch: the records below
name classes by their import path.
"""

from __future__ import annotations

from collections.abc import Iterable

from medbench import Logger, Plugin, hookimpl
from medbench_plugins.acquisitions import ACQUISITIONS
from medbench_plugins.backbones import BACKBONES
from medbench_plugins.datasets import DATASETS
from medbench_plugins.executors import EXECUTORS
from medbench_plugins.loggers import LOGGERS
from medbench_plugins.methods import METHODS
from medbench_plugins.noise import NOISE_MODELS
from medbench_plugins.pretexts import PRETEXTS


@hookimpl
def medbench_datasets() -> Iterable[Plugin]:
    """Announce the built-in datasets."""
    return DATASETS


@hookimpl
def medbench_noise_models() -> Iterable[Plugin]:
    """Announce the built-in noise models."""
    return NOISE_MODELS


@hookimpl
def medbench_pretexts() -> Iterable[Plugin]:
    """Announce the built-in pretexts."""
    return PRETEXTS


@hookimpl
def medbench_methods() -> Iterable[Plugin]:
    """Announce the built-in methods."""
    return METHODS


@hookimpl
def medbench_acquisitions() -> Iterable[Plugin]:
    """Announce the built-in acquisition functions."""
    return ACQUISITIONS


@hookimpl
def medbench_executors() -> Iterable[Plugin]:
    """Announce the built-in executors."""
    return EXECUTORS


@hookimpl
def medbench_backbones() -> Iterable[Plugin]:
    """Announce the built-in backbones."""
    return BACKBONES


@hookimpl
def medbench_loggers() -> Iterable[Logger]:
    """Announce the built-in loggers."""
    return LOGGERS

"""Plugins for medbench: one of each kind, and a protocol.

Importing this module imports neither torch nor any plugin's code: the records
below name classes by their import path.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from medbench import Plugin, hookimpl


@hookimpl
def medbench_datasets() -> Iterable[Plugin]:
    """Announce the dataset."""
    return [
        Plugin(
            name="example-shapes",
            target="medbench_example.dataset:ExampleShapes",
            settings="medbench_example.settings:ExampleShapesSettings",
            summary="90 drawn images, 24 px, disc / ring / bars",
            interface=1,
        )
    ]


@hookimpl
def medbench_noise_models() -> Iterable[Plugin]:
    """Announce the noise model."""
    return [
        Plugin(
            name="hurried",
            target="medbench_example.noise:Hurried",
            summary="a hurried annotator writes down the commonest class",
            interface=1,
        )
    ]


@hookimpl
def medbench_pretexts() -> Iterable[Plugin]:
    """Announce the pretext."""
    return [
        Plugin(
            name="hidden-cell",
            target="medbench_example.pretext:HiddenCell",
            settings="medbench_example.settings:HiddenCellSettings",
            summary="paint what a hidden cell of the image holds",
            interface=1,
        )
    ]


@hookimpl
def medbench_methods() -> Iterable[Plugin]:
    """Announce the method."""
    return [
        Plugin(
            name="generalised-cross-entropy",
            target="medbench_example.method:GeneralisedCrossEntropy",
            settings="medbench_example.settings:GeneralisedCrossEntropySettings",
            summary="a loss between cross-entropy and mean absolute error",
            interface=1,
        )
    ]


@hookimpl
def medbench_protocols() -> Iterable[Path]:
    """Announce the protocol."""
    return [Path(__file__).parent / "protocols" / "example.toml"]

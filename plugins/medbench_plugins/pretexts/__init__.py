"""The built-in pretexts."""

from medbench import Plugin

_HERE = "medbench_plugins.pretexts"

PRETEXTS: tuple[Plugin, ...] = (
    Plugin(
        name="none",
        target=f"{_HERE}.none:NoPretext",
        summary="No pretraining: the backbone stays as initialised",
        interface=1,
        settings=f"{_HERE}.settings:NoPretextSettings",
    ),
    Plugin(
        name="rotation",
        target=f"{_HERE}.rotation:Rotation",
        summary="By how many quarter turns was the image rotated? (Gidaris 2018)",
        interface=1,
        settings=f"{_HERE}.settings:RotationSettings",
    ),
    Plugin(
        name="jigsaw",
        target=f"{_HERE}.jigsaw:Jigsaw",
        summary="In which order were the tiles of the image shuffled? (Noroozi and Favaro 2016)",
        interface=1,
        settings=f"{_HERE}.settings:JigsawSettings",
    ),
    Plugin(
        name="jigmag",
        target=f"{_HERE}.jigmag:JigMag",
        summary="In which order do the image's magnifications come? (Koohbanani 2021)",
        interface=1,
        settings=f"{_HERE}.settings:JigMagSettings",
    ),
    Plugin(
        name="simclr",
        target=f"{_HERE}.simclr:SimCLR",
        summary="Which two views are of the same image? (Chen 2020)",
        interface=1,
        settings=f"{_HERE}.settings:SimCLRSettings",
    ),
)

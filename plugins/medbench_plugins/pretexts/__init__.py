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
        citation="Gidaris S, Singh P, Komodakis N. Unsupervised representation learning by "
        "predicting image rotations. ICLR 2018, arXiv 1803.07728",
    ),
    Plugin(
        name="jigsaw",
        target=f"{_HERE}.jigsaw:Jigsaw",
        summary="In which order were the tiles of the image shuffled? (Noroozi and Favaro 2016)",
        interface=1,
        settings=f"{_HERE}.settings:JigsawSettings",
        citation="Noroozi M, Favaro P. Unsupervised learning of visual representations by "
        "solving jigsaw puzzles. ECCV 2016, arXiv 1603.09246",
    ),
    Plugin(
        name="jigmag",
        target=f"{_HERE}.jigmag:JigMag",
        summary="In which order do the image's magnifications come? (Koohbanani 2021)",
        interface=1,
        settings=f"{_HERE}.settings:JigMagSettings",
        citation="Koohbanani NA, Unnikrishnan B, Khurram SA, Krishnaswamy P, Rajpoot N. "
        "Self-Path: self-supervision for classification of pathology images with "
        "limited annotations. IEEE Transactions on Medical Imaging 40 (2021), arXiv "
        "2008.05571",
    ),
    Plugin(
        name="simclr",
        target=f"{_HERE}.simclr:SimCLR",
        summary="Which two views are of the same image? (Chen 2020)",
        interface=1,
        settings=f"{_HERE}.settings:SimCLRSettings",
        citation="Chen T, Kornblith S, Norouzi M, Hinton G. A simple framework for contrastive "
        "learning of visual representations. ICML 2020, arXiv 2002.05709",
    ),
)

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
        family="transformations",
        settings=f"{_HERE}.settings:RotationSettings",
        citation="Gidaris S, Singh P, Komodakis N. Unsupervised representation learning by "
        "predicting image rotations. ICLR 2018, arXiv 1803.07728",
    ),
    Plugin(
        name="jigsaw",
        target=f"{_HERE}.jigsaw:Jigsaw",
        summary="In which order were the tiles of the image shuffled? (Noroozi and Favaro 2016)",
        interface=1,
        family="transformations",
        settings=f"{_HERE}.settings:JigsawSettings",
        citation="Noroozi M, Favaro P. Unsupervised learning of visual representations by "
        "solving jigsaw puzzles. ECCV 2016, arXiv 1603.09246",
    ),
    Plugin(
        name="jigmag",
        target=f"{_HERE}.jigmag:JigMag",
        summary="In which order do the image's magnifications come? (Koohbanani 2021)",
        interface=1,
        family="transformations",
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
        family="contrastive",
        settings=f"{_HERE}.settings:SimCLRSettings",
        citation="Chen T, Kornblith S, Norouzi M, Hinton G. A simple framework for contrastive "
        "learning of visual representations. ICML 2020, arXiv 2002.05709",
    ),
    Plugin(
        name="moco",
        target=f"{_HERE}.moco:MoCo",
        summary="Which key of a long queue is of the same image? (He 2020)",
        interface=1,
        family="contrastive",
        settings=f"{_HERE}.settings:MoCoSettings",
        citation="He K, Fan H, Wu Y, Xie S, Girshick R. Momentum contrast for unsupervised visual "
        "representation learning. CVPR 2020, arXiv 1911.05722; see also Chen X, Fan H, "
        "Girshick R, He K. Improved baselines with momentum contrastive learning. 2020, arXiv "
        "2003.04297",
    ),
    Plugin(
        name="barlow-twins",
        target=f"{_HERE}.barlow_twins:BarlowTwins",
        summary="Equal features of two views, without redundancy (Zbontar 2021)",
        interface=1,
        family="non-contrastive",
        settings=f"{_HERE}.settings:BarlowTwinsSettings",
        citation="Zbontar J, Jing L, Misra I, LeCun Y, Deny S. Barlow Twins: self-supervised "
        "learning via redundancy reduction. ICML 2021, arXiv 2103.03230",
    ),
    Plugin(
        name="byol",
        target=f"{_HERE}.byol:BYOL",
        summary="What does a slower network make of the other view? (Grill 2020)",
        interface=1,
        family="non-contrastive",
        settings=f"{_HERE}.settings:BYOLSettings",
        citation="Grill J-B, Strub F, Altché F, et al. Bootstrap your own latent: a new approach "
        "to self-supervised learning. NeurIPS 2020, arXiv 2006.07733",
    ),
    Plugin(
        name="lejepa",
        target=f"{_HERE}.lejepa:LeJEPA",
        summary="Equal projections of two views, of Gaussian distribution (Balestriero 2025)",
        interface=1,
        family="non-contrastive",
        settings=f"{_HERE}.settings:LeJEPASettings",
        citation="Balestriero R, LeCun Y. LeJEPA: provable and scalable self-supervised learning "
        "without the heuristics. 2025, arXiv 2511.08544",
    ),
    Plugin(
        name="mae",
        target=f"{_HERE}.mae:MAE",
        summary="Draw the hidden patches; vision transformers only (He 2022)",
        interface=1,
        family="generative",
        settings=f"{_HERE}.settings:MAESettings",
        citation="He K, Chen X, Xie S, Li Y, Dollár P, Girshick R. Masked autoencoders are "
        "scalable vision learners. CVPR 2022, arXiv 2111.06377",
    ),
    Plugin(
        name="vae",
        target=f"{_HERE}.vae:VAE",
        summary="Variational autoencoder: draw the image again (Kingma and Welling 2014)",
        interface=1,
        family="generative",
        settings=f"{_HERE}.settings:VAESettings",
        citation="Kingma DP, Welling M. Auto-encoding variational Bayes. ICLR 2014, arXiv "
        "1312.6114",
    ),
    Plugin(
        name="checkpoint",
        target=f"{_HERE}.checkpoint:Checkpoint",
        summary="Weights from a file: foundation models, ImageNet, earlier work (2026)",
        interface=1,
        family="foreign weights",
        settings=f"{_HERE}.settings:CheckpointSettings",
    ),
)

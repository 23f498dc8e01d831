"""The built-in backbones."""

from medbench import Plugin

_TORCHVISION = "medbench_plugins.backbones.torchvision:TorchvisionBackbone"


def _torchvision(name: str, summary: str) -> Plugin:
    return Plugin(
        name=name,
        target=_TORCHVISION,
        summary=summary,
        interface=1,
        defaults={"architecture": name},
        settings="medbench_plugins.backbones.settings:TorchvisionSettings",
    )


BACKBONES: tuple[Plugin, ...] = (
    Plugin(
        name="narrow",
        target="medbench_plugins.backbones.narrow:Narrow",
        summary="Small residual network for CPUs and small images",
        interface=1,
        settings="medbench_plugins.backbones.settings:NarrowSettings",
    ),
    Plugin(
        name="narrow-dropout",
        target="medbench_plugins.backbones.dropout:DroppingNarrow",
        summary="The narrow network with dropout before the last layer (Srivastava 2014)",
        interface=1,
        settings="medbench_plugins.backbones.settings:DroppingNarrowSettings",
    ),
    Plugin(
        name="resnet18-dropout",
        target="medbench_plugins.backbones.dropout:DroppingTorchvision",
        summary="ResNet-18 with dropout before the last layer (He 2016, Srivastava 2014)",
        interface=1,
        defaults={"architecture": "resnet18"},
        settings="medbench_plugins.backbones.settings:DroppingTorchvisionSettings",
    ),
    Plugin(
        name="tiny-vit",
        target="medbench_plugins.backbones.tiny_vit:TinyViT",
        summary="Small vision transformer for CPUs (after Dosovitskiy 2021)",
        interface=1,
        settings="medbench_plugins.backbones.settings:TinyViTSettings",
    ),
    _torchvision("resnet18", "ResNet-18, the papers' network (He 2016)"),
    _torchvision("resnet34", "ResNet-34 (He 2016)"),
    _torchvision("resnet50", "ResNet-50 (He 2016)"),
    _torchvision("resnet101", "ResNet-101 (He 2016)"),
    _torchvision("densenet121", "DenseNet-121 (Huang 2017)"),
    _torchvision("efficientnet_b0", "EfficientNet-B0 (Tan and Le 2019)"),
    _torchvision("mobilenet_v3_small", "MobileNetV3-Small (Howard 2019)"),
    _torchvision("convnext_tiny", "ConvNeXt-Tiny (Liu 2022)"),
    _torchvision("vit_b_16", "Vision transformer, base, patches of 16 px (Dosovitskiy 2021)"),
    _torchvision("swin_t", "Swin transformer, tiny (Liu 2021)"),
    Plugin(
        name="timm",
        target="medbench_plugins.backbones.timm_networks:TimmBackbone",
        summary="Any network of timm, as timm:NAME (Wightman 2019)",
        interface=1,
        settings="medbench_plugins.backbones.settings:TimmSettings",
        member="architecture",
        citation="Wightman R. PyTorch Image Models. 2019, "
        "https://github.com/huggingface/pytorch-image-models",
    ),
)

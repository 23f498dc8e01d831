"""Rules for backbones."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from medbench.check.compare import difference, require_equal
from medbench.check.contract import NotApplicable, Violation, refusal_allowed, require, rule_of
from medbench.check.plugin import PluginUnderTest
from medbench.check.simulated_device import simulated_device
from medbench.engine.networks import seeded_construction
from medbench.engine.state import PluginState
from medbench.engine.streams import torch_stream
from medbench.errors import MedbenchError
from medbench.interfaces import Backbone, ImageSpace

rule = rule_of("backbone")

#: Height and width of most images.
SIZE = 32


def build(
    plugin: PluginUnderTest, *, size: int = SIZE, channels: int = 1, seed: int = 0
) -> tuple[nn.Module, int]:
    """Build a backbone as the harness does; a size it refuses in one line is no violation."""
    made: Backbone = plugin.make()
    with refusal_allowed(), seeded_construction(seed, "backbone"):
        return made.build(ImageSpace(channels=channels, size=size))


def images(count: int = 4, size: int = SIZE, channels: int = 1, device: str = "cpu") -> Tensor:
    """Return normalised images, as a network gets them."""
    drawn = torch.randn((count, channels, size, size), generator=torch_stream(0, "images"))
    return drawn.to(device)


def check_features(plugin: PluginUnderTest, built: int, shown: int, channels: int = 1) -> None:
    """Check the features of four images of a size, by a backbone built for another or the same."""
    module, dim = build(plugin, size=built, channels=channels)
    if not isinstance(module, nn.Module) or not isinstance(dim, int):
        raise Violation(f"build returned {type(module).__name__} and {dim!r}")
    with torch.no_grad():
        given: Any = module.eval()(images(size=shown, channels=channels))
    if not isinstance(given, Tensor) or tuple(given.shape) != (4, dim):
        shape = tuple(given.shape) if isinstance(given, Tensor) else type(given).__name__
        raise Violation(f"4 images gave {shape}; build says D = {dim}")
    require(bool(torch.isfinite(given).all()), "features are not finite")


@rule(
    expects="build returns a module and D; the module maps (B, C, H, W) to finite (B, D)",
    why="Heads are built for D features.",
    fix="end with pooling and flatten; return the number of channels there",
)
def features(plugin: PluginUnderTest) -> None:
    """Compute features of grey and colour images."""
    for channels in (1, 3):
        check_features(plugin, SIZE, SIZE, channels)


@rule(
    expects="built twice with the same seed, it has the same weights",
    why="All entrants of a dataset and seed start from the same weights.",
    fix="use ordinary constructors, which draw from torch's generator; it is seeded for them",
)
def repeats(plugin: PluginUnderTest) -> None:
    """Build twice."""
    one, two = (dict(build(plugin)[0].state_dict()) for _ in range(2))
    require_equal(one, two, "built twice")


@rule(
    expects="built with another seed, it has other weights",
    why="Seeds show how much of a result is chance.",
    fix="never seed in build; set pretrained = True where it starts from the weights of a file",
)
def seed_matters(plugin: PluginUnderTest) -> None:
    """Build under two seeds."""
    if plugin.make().pretrained:
        raise NotApplicable("it says that it starts from given weights")
    one, two = (dict(build(plugin, seed=seed)[0].state_dict()) for seed in (0, 1))
    require(difference(one, two), "two seeds gave the same weights")


@rule(
    expects="it accepts images down to a third of the side that it was built for",
    why="Puzzles show it tiles.",
    fix="pool adaptively at the end; no linear layer whose size depends on the image's",
)
def small_images(plugin: PluginUnderTest) -> None:
    """Show tiles."""
    check_features(plugin, 48, 16)


@rule(
    expects="it accepts images of an odd height and width, or refuses them in one line",
    why="Image sizes need not be even.",
    fix="pad, or raise MedbenchError in build",
)
def odd_size(plugin: PluginUnderTest) -> None:
    """Show images of 33 px."""
    check_features(plugin, 33, 33)


@rule(
    expects="in eval mode the features of an image do not depend on the rest of the batch",
    why="Otherwise scores depend on evaluation.batch_size, and leak the test set.",
    fix="use no batch statistics in eval mode: register normalisation layers as modules",
)
def by_image(plugin: PluginUnderTest) -> None:
    """Compute features together and alone."""
    module, _ = build(plugin)
    module.eval()
    shown = images()
    with torch.no_grad():
        together = module(shown)
        alone = torch.cat([module(shown[i : i + 1]) for i in range(4)])
    off = float((together - alone).abs().max())
    if off > 1e-3 * (1 + float(together.abs().max())):
        raise Violation(f"features differ by {off:.3g} when an image is alone in its batch")


@rule(
    expects="the gradient reaches every parameter",
    why="A parameter without gradient is never trained, but counted and stored.",
    fix="remove layers that forward does not use",
)
def gradient(plugin: PluginUnderTest) -> None:
    """Go backward from the features."""
    module, _ = build(plugin)
    module.train()
    given = module(images())
    weights = torch.randn(given.shape, generator=torch_stream(1, "weights"))
    (given * weights).sum().backward()
    without = [name for name, p in module.named_parameters() if p.grad is None]
    if without:
        raise Violation(f"no gradient reaches {without[0]}")


@rule(
    expects="its state_dict, loaded into a fresh one, gives the same features; checkpoints hold it",
    why="Weights are saved and loaded by it; interrupted jobs continue from checkpoints.",
    fix="register buffers; keep no tensors, and nothing that cannot be saved, in plain attributes",
)
def state(plugin: PluginUnderTest) -> None:
    """Train a step, then move the state to a fresh one."""
    first, _ = build(plugin)
    first.train()
    first(images(8))  # moves running statistics
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.mul_(1.5)
    second, _ = build(plugin)
    second.load_state_dict(first.state_dict())
    with torch.no_grad():
        one, two = first.eval()(images()), second.eval()(images())
    require_equal(one, two, "features of the first and of a fresh one")
    try:
        PluginState({"backbone": second}).save()
    except MedbenchError as error:
        raise Violation(str(error)) from error


@rule(
    expects="tensors made in forward are created on the device of the images",
    why="Code that works by chance on a CPU fails on the first GPU.",
    fix="register_buffer for constants, device=images.device for tensors made in forward",
)
def device(plugin: PluginUnderTest) -> None:
    """Compute features on a simulated device."""
    module, _ = build(plugin)
    with simulated_device(()) as place:
        module.to(place).train()(images(device=place))

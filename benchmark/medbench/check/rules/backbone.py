"""Rules for backbones."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from medbench.check.compare import difference
from medbench.check.contract import NotApplicable, Violation, rule
from medbench.check.elsewhere import Misplaced, elsewhere
from medbench.check.subject import Subject, refuses
from medbench.engine.networks import seeded_construction
from medbench.engine.streams import torch_stream
from medbench.interfaces import Backbone, ImageSpace

#: Height and width of most images.
SIZE = 32


def build(subject: Subject, *, size: int = SIZE, channels: int = 1) -> tuple[nn.Module, int]:
    """Build a backbone as the harness does; a size it refuses in one line is no violation."""
    made: Backbone = subject.make()
    try:
        with seeded_construction(0, "backbone"):
            return made.build(ImageSpace(channels=channels, size=size))
    except Exception as error:
        if refuses(error):
            raise NotApplicable(str(error)) from error
        raise


def images(count: int = 4, size: int = SIZE, channels: int = 1, device: str = "cpu") -> Tensor:
    """Return images as a network meets them, normalised."""
    drawn = torch.randn((count, channels, size, size), generator=torch_stream(0, "images"))
    return drawn.to(device)


def check_features(given: Any, count: int, features: int) -> None:
    """Refuse what are no features of ``count`` images."""
    if not isinstance(given, Tensor) or tuple(given.shape) != (count, features):
        shape = tuple(given.shape) if isinstance(given, Tensor) else type(given).__name__
        raise Violation(f"{count} images gave {shape}; build says D = {features}")
    if not bool(torch.isfinite(given).all()):
        raise Violation("features are not finite")


@rule(
    "backbone",
    "features",
    expects="build gives a module and D; the module maps (B, C, H, W) to finite features (B, D)",
    why="Heads are built for D features.",
    fix="end with pooling and flatten; return the number of channels there",
)
def features(subject: Subject) -> None:
    """Compute features of grey and colour images."""
    for channels in (1, 3):
        module, dim = build(subject, channels=channels)
        if not isinstance(module, nn.Module) or not isinstance(dim, int):
            raise Violation(f"build returned {type(module).__name__} and {dim!r}")
        with torch.no_grad():
            check_features(module.eval()(images(channels=channels)), 4, dim)


@rule(
    "backbone",
    "repeats",
    expects="built again under the same seed it has the same weights",
    why="All entrants of a dataset and seed start from the same weights.",
    fix="use ordinary constructors, which draw from torch's generator, seeded for the purpose",
)
def repeats(subject: Subject) -> None:
    """Build twice."""
    states = [dict(build(subject)[0].state_dict()) for _ in range(2)]
    if found := difference(states[0], states[1]):
        raise Violation(found)


@rule(
    "backbone",
    "seed-matters",
    expects="built under another seed it has other weights",
    why="Seeds are there to show how much is chance.",
    fix="never seed in build",
)
def seed_matters(subject: Subject) -> None:
    """Build under two seeds."""
    made: Backbone = subject.make()
    states = []
    for seed in (0, 1):
        with seeded_construction(seed, "backbone"):
            states.append(dict(made.build(ImageSpace(channels=1, size=SIZE))[0].state_dict()))
    if not difference(states[0], states[1]):
        raise Violation("two seeds gave the same weights")


@rule(
    "backbone",
    "small-images",
    expects="it takes images smaller than those it was built for, down to a third of the side",
    why="Puzzles show it tiles.",
    fix="pool adaptively at the end; do not fix the size of a linear layer by the image's",
)
def small_images(subject: Subject) -> None:
    """Show tiles."""
    module, dim = build(subject, size=48)
    with torch.no_grad():
        check_features(module.eval()(images(size=16)), 4, dim)


@rule(
    "backbone",
    "odd-size",
    expects="it takes images of an odd height and width, or refuses them in one line",
    why="Nothing promises even sizes.",
    fix="pad, or raise MedbenchError in build",
)
def odd_size(subject: Subject) -> None:
    """Show images of 33 px."""
    module, dim = build(subject, size=33)
    with torch.no_grad():
        check_features(module.eval()(images(size=33)), 4, dim)


@rule(
    "backbone",
    "by-image",
    expects="in eval mode the features of an image do not depend on the images beside it",
    why="Scores would depend on evaluation.batch_size, and know of the test set.",
    fix="no batch statistics in eval mode: register what normalises as a module",
)
def by_image(subject: Subject) -> None:
    """Compute features together and alone."""
    module, _ = build(subject)
    module.eval()
    shown = images()
    with torch.no_grad():
        together = module(shown)
        alone = torch.cat([module(shown[i : i + 1]) for i in range(4)])
    off = float((together - alone).abs().max())
    if off > 1e-3 * (1 + float(together.abs().max())):
        raise Violation(f"features differ by {off:.3g} when an image is alone in its batch")


@rule(
    "backbone",
    "gradient",
    expects="the gradient reaches every parameter",
    why="What it does not reach is never trained, but counted and stored.",
    fix="leave out layers that forward does not use",
)
def gradient(subject: Subject) -> None:
    """Go backward from the features."""
    module, _ = build(subject)
    module.train()
    given = module(images())
    weights = torch.randn(given.shape, generator=torch_stream(1, "weights"))
    (given * weights).sum().backward()
    without = [name for name, p in module.named_parameters() if p.grad is None]
    if without:
        raise Violation(f"no gradient reaches {without[0]}")


@rule(
    "backbone",
    "state",
    expects="its state_dict, loaded into a fresh one, gives the same features",
    why="Pretrained weights are kept and loaded by it.",
    fix="register buffers, keep no tensors in plain attributes",
)
def state(subject: Subject) -> None:
    """Train a step, then move the state to a fresh one."""
    first, _ = build(subject)
    first.train()
    first(images(8))  # moves running statistics
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.mul_(1.5)
    second, _ = build(subject)
    second.load_state_dict(first.state_dict())
    with torch.no_grad():
        one, two = first.eval()(images()), second.eval()(images())
    if found := difference(one, two, "features"):
        raise Violation(found)


@rule(
    "backbone",
    "device",
    expects="tensors made in forward are made where the images are",
    why="What works by luck on a CPU fails on the first GPU.",
    fix="register_buffer for constants, device=images.device for what is made in forward",
)
def device(subject: Subject) -> None:
    """Compute features where the images' device is told apart from the default one."""
    module, _ = build(subject)
    with elsewhere(()) as place:
        try:
            module.to(place).train()(images(device=place))
        except Misplaced as fault:
            raise Violation(str(fault)) from fault

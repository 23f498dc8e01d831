"""Rules for pretexts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from medbench.check.compare import require_equal
from medbench.check.contract import NotApplicable, Violation, refusal_allowed, require, rule_of
from medbench.check.global_rngs import FIX, WHY, unchanged_global_rngs
from medbench.check.plugin import PluginUnderTest
from medbench.check.real_data import real_images
from medbench.check.reference import FEATURES, tiny_backbone
from medbench.check.simulated_device import simulated_device
from medbench.engine.networks import NormalisedBackbone, build_backbone, seeded_construction
from medbench.engine.pretraining import PretrainingInput, PretrainingStage
from medbench.engine.streams import torch_stream
from medbench.interfaces import ImageSpace, PretextStep, PretextTask
from medbench.interfaces.method import OptimiserSettings
from medbench.interfaces.options import ComputeOptions, PretrainingOptions

rule = rule_of("pretext")

#: Height and width of most images: large enough for puzzles.
SIZE = 36


class PretextSetup:
    """A pretext with a backbone, a head and images, as pretraining sets it up."""

    def __init__(
        self,
        plugin: PluginUnderTest,
        *,
        size: int = SIZE,
        channels: int = 1,
        images: int = 8,
        device: str = "cpu",
        network: nn.Module | None = None,
    ) -> None:
        self.pretext = plugin.make()
        settings = self.pretext.settings
        if not getattr(settings, "trains", True) or getattr(settings, "loads", False):
            raise NotApplicable("it trains nothing")
        self.space = ImageSpace(channels=channels, size=size)
        half = (0.5,) * channels
        self.backbone: nn.Module
        self.backbone, features = build_backbone(
            tiny_backbone(patches=self.pretext.needs_patches), self.space, half, half, 0
        )
        if network is not None:
            self.backbone = NormalisedBackbone(network, half, half)
        self.backbone.to(device).train()
        task = PretextTask(
            self.backbone, features, self.space, images, steps=100, device=torch.device(device)
        )
        with refusal_allowed(), seeded_construction(0, "pretext head"):
            self.head = self.pretext.start(task)
        if not isinstance(self.head, nn.Module):
            raise Violation(f"the head is a {type(self.head).__name__}, not a module")
        self.head.to(device).train()
        drawn = torch.rand((images, channels, size, size), generator=torch_stream(0, "images"))
        self.images = drawn.to(device)
        self.rng = torch_stream(0, "pretext", 0, device=device)

    def step(self, seed: int | None = None) -> PretextStep:
        """Compute a loss."""
        rng = self.rng if seed is None else torch_stream(seed, "pretext", 0)
        step: PretextStep = self.pretext.loss(self.backbone, self.head, self.images, rng)
        return step

    def gradients(self) -> dict[str, Tensor | None]:
        """Return the gradients of the backbone's parameters, by name."""
        return {name: p.grad for name, p in self.backbone.named_parameters()}


def check_step(step: Any) -> None:
    """Check that a value is the result of a mini-batch."""
    if not isinstance(step, PretextStep):
        raise Violation(f"loss returned a {type(step).__name__}, not a PretextStep")
    if not isinstance(step.loss, Tensor) or step.loss.dim() != 0:
        raise Violation(f"the loss is no tensor of shape (): {step.loss!r:.80}")
    require(math.isfinite(float(step.loss.detach())), f"the loss is {float(step.loss.detach())}")
    require(step.loss.requires_grad, "the loss carries no gradient")
    correct = float(torch.as_tensor(step.correct))
    if not isinstance(step.questions, int) or step.questions < 0:
        raise Violation(f"questions is {step.questions!r}, no count")
    require(0 <= correct <= step.questions, f"{correct:g} of {step.questions} answers are correct")


@rule(
    expects="loss returns PretextStep: finite scalar loss with gradient, 0 <= correct <= questions",
    why="The harness minimises the loss, and reports the accuracy as correct / questions.",
    fix="return PretextStep(loss.mean(), (answers == truth).sum(), len(truth))",
)
def step(plugin: PluginUnderTest) -> None:
    """Compute a loss."""
    check_step(PretextSetup(plugin).step())


@rule(
    expects="the gradient of the loss reaches every weight of the backbone",
    why="Only the backbone is kept: a weight without gradient is not pretrained.",
    fix="no detach() and no torch.no_grad() between backbone and loss",
)
def gradient(plugin: PluginUnderTest) -> None:
    """Go backward once."""
    setup = PretextSetup(plugin)
    setup.step().loss.backward()  # type: ignore[no-untyped-call]
    gradients = setup.gradients().items()
    without = [name for name, grad in gradients if grad is None or not bool(grad.any())]
    require(not without, f"no gradient reaches {', '.join(without)}")


@rule(
    expects="the same images and generator give the same loss and gradients, bit for bit",
    why="Runs share pretrained weights by key: same key, same weights.",
    fix="draw only from rng; keep no state between calls",
)
def repeats(plugin: PluginUnderTest) -> None:
    """Compute losses with two instances."""
    losses: list[Any] = []
    for _ in range(2):
        setup = PretextSetup(plugin)
        one = setup.step()
        one.loss.backward()  # type: ignore[no-untyped-call]
        losses.append({"loss": one.loss.detach(), "gradient": setup.gradients()})
    require_equal(losses[0], losses[1], "a second instance differs")


@rule(
    expects="different generators give different losses",
    why="A task that is the same in every epoch is memorised; another generator does not repeat.",
    fix="use rng; create no generator of your own",
)
def generator_matters(plugin: PluginUnderTest) -> None:
    """Compute losses with several generators."""
    losses = {float(PretextSetup(plugin).step(seed).loss.detach()) for seed in range(4)}
    require(len(losses) != 1, "four generators gave the same loss")


@rule(
    expects="the global generators of Python, numpy and torch are neither used nor seeded by loss",
    why=WHY,
    fix=FIX,
)
def global_generators(plugin: PluginUnderTest) -> None:
    """Watch the global generators over a step."""
    setup = PretextSetup(plugin)
    with unchanged_global_rngs():
        setup.step()


@rule(
    expects="tensors are created on the device of the images",
    why="Code that works by chance on a CPU fails on the first GPU.",
    fix="torch.zeros(n, device=images.device), and the same for tensors of __init__",
)
def device(plugin: PluginUnderTest) -> None:
    """Compute a loss on a simulated device."""
    generators: list[Any] = []
    with simulated_device(generators) as place:
        setup = PretextSetup(plugin, device=place)
        generators.append(setup.rng)
        setup.step().loss.backward()  # type: ignore[no-untyped-call]
    if torch.cuda.is_available():
        PretextSetup(plugin, device="cuda").step().loss.backward()  # type: ignore[no-untyped-call]


@rule(
    expects="the images are not changed",
    why="A later step may get the same tensor.",
    fix="use no in-place operation (a name that ends in _) on the images",
)
def images_untouched(plugin: PluginUnderTest) -> None:
    """Compare the images before and after."""
    setup = PretextSetup(plugin)
    kept = setup.images.clone()
    setup.step()
    require_equal(kept, setup.images, "the images before and after")


class Guessing(nn.Module):
    """A backbone that ignores the images: its features are random."""

    def __init__(self) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(5)
        # a function, so that copies of the network go on drawing from the same generator
        self.draw: Callable[[int], Tensor] = lambda count: torch.randn(
            (count, FEATURES), generator=rng
        )
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, images: Tensor) -> Tensor:
        """Return features that do not depend on the images."""
        features: Tensor = self.scale * self.draw(len(images))
        return features


@rule(
    expects="chance(batch_size) is the accuracy of guessing",
    why="The accuracy of a pretraining is compared with it.",
    fix="1 / n for n equally likely answers; n may depend on the batch size",
)
def chance(plugin: PluginUnderTest) -> str:
    """Measure the accuracy of a backbone that ignores the images."""
    if plugin.make().needs_patches:
        raise NotApplicable("its questions are of patches")
    setup = PretextSetup(plugin, network=Guessing())
    count = len(setup.images)
    stated = setup.pretext.chance(count)
    require(isinstance(stated, (int, float)) and 0 <= stated <= 1, f"chance({count}) is {stated!r}")
    correct, questions = 0.0, 0
    with torch.no_grad():
        for seed in range(60):
            one = setup.step(seed)
            correct += float(torch.as_tensor(one.correct))
            questions += one.questions
    if not questions:
        raise NotApplicable("it asks no questions")
    reached = correct / questions
    # questions of a batch are not independent: five deviations of as many batches
    allowed = 5 * math.sqrt(max(stated * (1 - stated), 1e-3) / min(questions, 60 * count)) + 0.02
    require(
        abs(reached - stated) <= allowed,
        f"guessing reached {reached:.3f} over {questions} questions; it states {stated:.3f}",
    )
    return f"stated {stated:.3f}, guessing reached {reached:.3f}"


@rule(
    expects="it works with a batch of two images",
    why="The last mini-batch of an epoch may be that small.",
    fix="guard divisions by the number of other images",
)
def small_batch(plugin: PluginUnderTest) -> None:
    """Compute a loss on two images."""
    check_step(PretextSetup(plugin, images=2).step())


@rule(
    expects="it works with grey images (C = 1) and with colour (C = 3)",
    why="X-rays are grey, histology is not.",
    fix="take the number of channels from images.shape",
)
def grey_and_colour(plugin: PluginUnderTest) -> None:
    """Compute a loss on images of one and of three channels."""
    for channels in (1, 3):
        check_step(PretextSetup(plugin, channels=channels).step())


@rule(
    expects="it works with images of an odd height and width, or refuses them in one line",
    why="Image sizes need not be even.",
    fix="compute sizes with //; raise MedbenchError in make_head if images are too small",
)
def odd_size(plugin: PluginUnderTest) -> None:
    """Compute a loss on images of 37 px."""
    check_step(PretextSetup(plugin, size=37).step())


@rule(
    expects="after pretraining the backbone has its weight names, finite values, distinct features",
    why="Methods load the weights by name; features that are all equal are of no use.",
    fix="add no layers to the backbone; a loss that only attracts features collapses: repel some",
)
def backbone_usable(plugin: PluginUnderTest) -> str:
    """Pretrain on real images through the harness, and look at the features."""
    stage = _stage(plugin)
    names = set(stage.weights())
    epochs = list(stage.epochs())
    weights = stage.weights()
    if set(weights) != names:
        raise Violation(f"weights were added or removed: {sorted(set(weights) ^ names)[0]}")
    bad = [n for n, w in weights.items() if not bool(torch.isfinite(torch.as_tensor(w)).all())]
    if bad:
        raise Violation(f"{bad[0]} is not finite after {len(epochs)} epochs")
    stage.backbone.eval()
    with torch.no_grad():
        features = stage.backbone(stage.images.take(slice(0, 64)))
    spread = float((features.std(dim=0) / (features.abs().mean() + 1e-8)).max())
    if spread < 1e-3:
        raise Violation(f"features of 64 images are all equal (relative deviation {spread:.2g})")
    first, last = epochs[0], epochs[-1]
    text = f"loss {first.loss:.3f} to {last.loss:.3f}"
    return f"{text}, accuracy {first.accuracy:.3f} to {last.accuracy:.3f}"


@rule(
    expects="the loss falls over a short pretraining on real images",
    why="A task whose loss does not fall teaches nothing.",
    fix="check the sign of the loss, and that answers and questions are of the same images",
)
def learns(plugin: PluginUnderTest) -> str:
    """Pretrain on real images through the harness."""
    stage = _stage(plugin)
    losses = [epoch.loss for epoch in stage.epochs()]
    # a queue of keys makes the task harder while it fills: the loss may rise after a first fall
    early, late = sum(losses[:2]) / 2, sum(losses[4:]) / 4
    require(late < early, f"mean loss {early:.4f} in the first 2 epochs, {late:.4f} in the last 4")
    return f"mean loss {early:.4f} in the first 2 epochs, {late:.4f} in the last 4"


def _stage(plugin: PluginUnderTest) -> PretrainingStage:
    # not applicable if it does not train or refuses the size
    patches = PretextSetup(plugin).pretext.needs_patches
    return PretrainingStage(
        PretrainingInput(
            images=real_images(96, SIZE),
            normalise="dataset",
            stage=PretrainingOptions(
                epochs=8,
                batch_size=32,
                optimiser=OptimiserSettings(name="adam", lr=3e-3, schedule="constant"),
            ),
            compute=ComputeOptions(),
            network_seed=0,
            training_seed=0,
        ),
        tiny_backbone(patches=patches),
        plugin.make(),
        "cpu",
    )

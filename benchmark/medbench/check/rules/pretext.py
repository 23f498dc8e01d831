"""Rules for pretexts."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from medbench.check.compare import difference
from medbench.check.contract import NotApplicable, Violation, rule
from medbench.check.elsewhere import Misplaced, elsewhere
from medbench.check.real import real_images
from medbench.check.rules.globals import MEND, watched_globals
from medbench.check.sound import FEATURES, tiny_backbone
from medbench.check.subject import Subject, refuses
from medbench.engine.networks import NormalisedBackbone, build_backbone, seeded_construction
from medbench.engine.pretraining import PretrainingInput, PretrainingStage
from medbench.engine.streams import torch_stream
from medbench.interfaces import ImageSpace, PretextStep
from medbench.interfaces.method import OptimiserSettings
from medbench.interfaces.options import ComputeOptions, PretrainingOptions

#: Height and width of most images: large enough for puzzles.
SIZE = 36


class Setting:
    """A pretext with a backbone, a head and images, as pretraining sets it up."""

    def __init__(
        self,
        subject: Subject,
        *,
        size: int = SIZE,
        channels: int = 1,
        images: int = 8,
        device: str = "cpu",
    ) -> None:
        self.pretext = subject.make()
        if not getattr(self.pretext.settings, "trains", True):
            raise NotApplicable("it trains nothing")
        self.space = ImageSpace(channels=channels, size=size)
        half = (0.5,) * channels
        self.backbone: nn.Module
        self.backbone, features = build_backbone(tiny_backbone(), self.space, half, half, 0)
        with seeded_construction(0, "pretext head"):
            try:
                self.head = self.pretext.make_head(features, self.space)
            except Exception as error:
                if refuses(error):
                    raise NotApplicable(str(error)) from error
                raise
        if not isinstance(self.head, nn.Module):
            raise Violation(f"make_head returned a {type(self.head).__name__}, not a module")
        self.backbone.to(device).train()
        self.head.to(device).train()
        drawn = torch.rand((images, channels, size, size), generator=torch_stream(0, "images"))
        self.images = drawn.to(device)
        self.rng = torch_stream(0, "pretext", 0, device=device)

    def step(self, seed: int | None = None) -> PretextStep:
        """Pose the task once."""
        rng = self.rng if seed is None else torch_stream(seed, "pretext", 0)
        step: PretextStep = self.pretext.loss(self.backbone, self.head, self.images, rng)
        return step

    def gradients(self) -> dict[str, Tensor | None]:
        """Return the gradients of the backbone's parameters, by name."""
        return {name: p.grad for name, p in self.backbone.named_parameters()}


def check_step(step: Any) -> None:
    """Refuse what is no outcome of a batch."""
    if not isinstance(step, PretextStep):
        raise Violation(f"loss returned a {type(step).__name__}, not a PretextStep")
    if not isinstance(step.loss, Tensor) or step.loss.dim() != 0:
        raise Violation(f"the loss is no tensor of shape (): {step.loss!r:.80}")
    if not math.isfinite(float(step.loss.detach())):
        raise Violation(f"the loss is {float(step.loss.detach())}")
    if not step.loss.requires_grad:
        raise Violation("the loss carries no gradient")
    correct = float(torch.as_tensor(step.correct))
    if not isinstance(step.questions, int) or step.questions < 0:
        raise Violation(f"questions is {step.questions!r}, no count")
    if not 0 <= correct <= step.questions:
        raise Violation(f"{correct:g} of {step.questions} questions answered rightly")


@rule(
    "pretext",
    "step",
    expects="loss gives a PretextStep: a finite loss of shape () with a gradient, and 0 <= correct "
    "<= questions",
    why="The harness minimises the one and tells how well the task is solved by the others.",
    fix="return PretextStep(loss.mean(), (answers == truth).sum(), len(truth))",
)
def step(subject: Subject) -> None:
    """Pose the task once."""
    check_step(Setting(subject).step())


@rule(
    "pretext",
    "gradient",
    expects="the gradient of the loss reaches every weight of the backbone",
    why="The backbone is all that is kept: what the gradient does not reach is not pretrained.",
    fix="no detach() and no torch.no_grad() between backbone and loss",
)
def gradient(subject: Subject) -> None:
    """Go backward once."""
    setting = Setting(subject)
    setting.step().loss.backward()  # type: ignore[no-untyped-call]
    without = [
        name
        for name, grad in setting.gradients().items()
        if grad is None or not bool((grad != 0).any())
    ]
    if without:
        raise Violation(f"no gradient reaches {', '.join(without)}")


@rule(
    "pretext",
    "repeats",
    expects="the same images and generator give the same loss and gradients, bit for bit",
    why="Weights are shared by runs and kept by key: same key, same weights.",
    fix="draw from rng alone; keep nothing from call to call",
)
def repeats(subject: Subject) -> None:
    """Pose the task to two instances."""
    first, second = Setting(subject), Setting(subject)
    losses: list[Any] = []
    for setting in (first, second):
        one = setting.step()
        one.loss.backward()  # type: ignore[no-untyped-call]
        losses.append({"loss": one.loss.detach(), "gradient": setting.gradients()})
    if found := difference(*losses):
        raise Violation(f"a second instance differs: {found}")


@rule(
    "pretext",
    "generator-matters",
    expects="another generator gives another loss",
    why="A task that poses the same questions in every epoch is learned by heart; one that draws "
    "from elsewhere does not repeat.",
    fix="use rng, and make no generator of your own",
)
def generator_matters(subject: Subject) -> None:
    """Pose the task with several generators."""
    losses = set()
    for seed in range(4):
        losses.add(float(Setting(subject).step(seed).loss.detach()))
    if len(losses) == 1:
        raise Violation("four generators gave the same loss")


@rule(
    "pretext",
    "global-generators",
    expects="the global generators of Python, numpy and torch are neither used nor seeded by loss",
    why="They are shared by everything in the process: what one draws moves what another gets.",
    fix=MEND,
)
def global_generators(subject: Subject) -> None:
    """Watch the global generators over a step."""
    setting = Setting(subject)
    with watched_globals():
        setting.step()


@rule(
    "pretext",
    "device",
    expects="tensors are made where the images are",
    why="What works by luck on a CPU fails on the first GPU.",
    fix="torch.zeros(n, device=images.device), and the same for whatever __init__ made",
)
def device(subject: Subject) -> None:
    """Pose the task where the images' device is told apart from the default one."""
    generators: list[Any] = []
    with elsewhere(generators) as place:
        try:
            setting = Setting(subject, device=place)
            generators.append(setting.rng)
            setting.step().loss.backward()  # type: ignore[no-untyped-call]
        except Misplaced as fault:
            raise Violation(str(fault)) from fault
    if torch.cuda.is_available():
        Setting(subject, device="cuda").step().loss.backward()  # type: ignore[no-untyped-call]


@rule(
    "pretext",
    "images-untouched",
    expects="the images are as before",
    why="A method or a later step may be handed the same tensor.",
    fix="no operation that ends in _ on the images",
)
def images_untouched(subject: Subject) -> None:
    """Compare the images before and after."""
    setting = Setting(subject)
    kept = setting.images.clone()
    setting.step()
    if found := difference(kept, setting.images, "the images"):
        raise Violation(found)


class Guessing(nn.Module):
    """A backbone that sees nothing: its features are drawn, not computed."""

    def __init__(self) -> None:
        super().__init__()
        self.rng = torch.Generator().manual_seed(5)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, images: Tensor) -> Tensor:
        """Return features that have nothing to do with the images."""
        return self.scale * torch.randn((len(images), FEATURES), generator=self.rng)


@rule(
    "pretext",
    "chance",
    expects="chance(batch_size) is the accuracy that guessing reaches",
    why="The accuracy of a pretraining is read against it: above it something was learned.",
    fix="of n answers equally likely it is 1 / n; think of what the batch size does to n",
)
def chance(subject: Subject) -> str:
    """Let a backbone that sees nothing answer."""
    setting = Setting(subject)
    count = len(setting.images)
    stated = setting.pretext.chance(count)
    if not isinstance(stated, (int, float)) or not 0 <= stated <= 1:
        raise Violation(f"chance({count}) is {stated!r}")
    setting.backbone = NormalisedBackbone(Guessing(), (0.5,), (0.5,))
    correct, questions = 0.0, 0
    with torch.no_grad():
        for seed in range(60):
            one = setting.step(seed)
            correct += float(torch.as_tensor(one.correct))
            questions += one.questions
    if not questions:
        raise NotApplicable("it asks no questions")
    reached = correct / questions
    # questions of a batch are not independent: five deviations of as many batches
    allowed = 5 * math.sqrt(max(stated * (1 - stated), 1e-3) / min(questions, 60 * count)) + 0.02
    if abs(reached - stated) > allowed:
        raise Violation(
            f"guessing reached {reached:.3f} over {questions} questions; it states {stated:.3f}"
        )
    return f"stated {stated:.3f}, guessing reached {reached:.3f}"


@rule(
    "pretext",
    "small-batch",
    expects="it works with a batch of two images",
    why="The last mini-batch of an epoch may be that small.",
    fix="guard what divides by the number of other images",
)
def small_batch(subject: Subject) -> None:
    """Pose the task on two images."""
    check_step(Setting(subject, images=2).step())


@rule(
    "pretext",
    "grey-and-colour",
    expects="it works with grey images (C = 1) and with colour (C = 3)",
    why="X-rays are grey, histology is not.",
    fix="take the number of channels from images.shape",
)
def grey_and_colour(subject: Subject) -> None:
    """Pose the task on images of one and of three channels."""
    for channels in (1, 3):
        check_step(Setting(subject, channels=channels).step())


@rule(
    "pretext",
    "odd-size",
    expects="it works with images of an odd height and width, or refuses them in one line",
    why="Nothing promises even sizes.",
    fix="compute sizes with //; raise MedbenchError in make_head where images are too small",
)
def odd_size(subject: Subject) -> None:
    """Pose the task on images of 37 px."""
    check_step(Setting(subject, size=37).step())


@rule(
    "pretext",
    "backbone-usable",
    expects="after a pretraining the backbone has the weights it began with, finite, and tells "
    "images apart",
    why="Methods load them by name into a fresh backbone; features that are all alike teach "
    "nothing.",
    fix="add no layers to the backbone and leave its names alone; a loss that only pulls features "
    "together collapses: push something apart",
)
def backbone_usable(subject: Subject) -> str:
    """Pretrain on real images through the harness, and look at the features."""
    stage = _stage(subject)
    names = set(stage.weights())
    epochs = list(stage.epochs())
    weights = stage.weights()
    if set(weights) != names:
        raise Violation(f"weights appeared or vanished: {sorted(set(weights) ^ names)[0]}")
    bad = [n for n, w in weights.items() if not bool(torch.isfinite(torch.as_tensor(w)).all())]
    if bad:
        raise Violation(f"{bad[0]} is not finite after {len(epochs)} epochs")
    stage.backbone.eval()
    with torch.no_grad():
        features = stage.backbone(stage.images.take(slice(0, 64)))
    spread = float((features.std(dim=0) / (features.abs().mean() + 1e-8)).max())
    if spread < 1e-3:
        raise Violation(f"features of 64 images are all alike (relative deviation {spread:.2g})")
    first, last = epochs[0], epochs[-1]
    return (
        f"loss {first.loss:.3f} to {last.loss:.3f}, "
        f"accuracy {first.accuracy:.3f} to {last.accuracy:.3f}"
    )


@rule(
    "pretext",
    "learns",
    expects="over a short pretraining on real images the loss falls",
    why="A task whose loss does not fall teaches nothing, whatever the number of epochs.",
    fix="look at the sign of the loss, and whether answers and questions are of the same images",
)
def learns(subject: Subject) -> str:
    """Pretrain on real images through the harness."""
    stage = _stage(subject)
    losses = [epoch.loss for epoch in stage.epochs()]
    half = len(losses) // 2
    early, late = sum(losses[:half]) / half, sum(losses[-half:]) / half
    if not late < early:
        raise Violation(
            f"the mean loss of the first {half} epochs is {early:.4f}, of the last {late:.4f}"
        )
    return f"mean loss {early:.4f} in the first {half} epochs, {late:.4f} in the last"


def _stage(subject: Subject) -> PretrainingStage:
    Setting(subject)  # whether it trains, and takes the size
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
        tiny_backbone(),
        subject.make(),
        "cpu",
    )

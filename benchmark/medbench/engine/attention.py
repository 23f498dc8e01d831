"""Where the networks of a run look: Grad-CAM, and occlusion as a check without gradients."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medbench.attention import grid_side, quantised, to_cells
from medbench.engine.networks import Classifier, FrozenBackbone, NormalisedBackbone
from medbench.engine.streams import seed_global_rngs
from medbench.engine.training import TrainingStage
from medbench.engine.views import DeviceImages
from medbench.errors import MedbenchError
from medbench.interfaces.backbone import PatchNetwork
from medbench.interfaces.options import AttentionOptions

#: Cells a side that the maps of the layer chosen by itself have at least, if any layer's do.
FEWEST_CELLS = 4


@dataclass(frozen=True)
class AttentionInput:
    """What attention is computed of. No label, no mask.

    Parameters
    ----------
    options : AttentionOptions
        The protocol's ``[attention]``.
    images : ndarray of int64, shape (N,)
        Positions of the test images.
    occluded : ndarray of int64, shape (n,)
        Those of them that are occluded, too.
    blank : ndarray of uint8, shape (C,)
        Colour of what is blanked.
    blanked : ndarray of uint8, shape (2, N, H, W, C), optional
        The N images with something blanked, to be predicted.
    features : ndarray of int64, shape (M,)
        Positions of training images for the map of features.
    """

    options: AttentionOptions
    images: NDArray[np.int64]
    occluded: NDArray[np.int64]
    blank: NDArray[np.uint8]
    blanked: NDArray[np.uint8] | None = None
    features: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))


def attend(stage: TrainingStage, given: AttentionInput) -> dict[str, NDArray[Any]]:
    """Return where the networks look that a trained method predicts with.

    Parameters
    ----------
    stage : TrainingStage
        After its last epoch.
    given : AttentionInput
        Of which images.

    Returns
    -------
    dict of str to ndarray
        ``attention/maps`` and ``attention/random``, uint8 (N, h, w): Grad-CAM of the trained
        networks and of network 0 with its initial weights, for the class that the method
        predicts. ``attention/occlusion``, uint8 (n, h, w): see :func:`occlusion`. Each map has
        255 as its largest value, or is 0 everywhere. ``attention/blanked``, float16 (2, N, K):
        probabilities of the blanked images. ``attention/features``, uint8 (M, 2): see
        :func:`plane`.

    Raises
    ------
    MedbenchError
        If the method predicts with no network of its task, or no layer gives maps.
    """
    seed_global_rngs(stage.given.training_seed, stage.given.training.epochs)
    networks = stage.predicting_networks()
    if not networks:
        raise MedbenchError(
            f"method {stage.method.name} predicts with no network of task.make_network(); its "
            "attention cannot be shown: leave out [attention]"
        )
    images = stage.test.subset(torch.from_numpy(given.images))
    classes = stage.predict(images).argmax(axis=1)
    trained = [cam_of(stage, network, given, images, classes) for network in networks]
    found = {
        "attention/maps": quantised(_scaled(np.mean(trained, axis=0))),
        "attention/random": quantised(
            cam_of(stage, stage.harness.initial_network(), given, images, classes)
        ),
    }
    if len(given.occluded):
        side = found["attention/maps"].shape[1:]
        here = np.flatnonzero(np.isin(given.images, given.occluded))
        some = images.subset(torch.from_numpy(here))
        falls = occlusion(stage, some, classes[here], given.blank, side)
        found["attention/occlusion"] = quantised(falls)
    if given.blanked is not None:
        shown = [stage.predict(stage.on_device(images)) for images in given.blanked]
        found["attention/blanked"] = np.stack(shown).astype(np.float16)
    if len(given.features) > 2:
        found["attention/features"] = plane(features(stage, networks[0], given.features))
    return found


def check_layer(stage: TrainingStage, options: AttentionOptions) -> None:
    """Refuse, before anything is trained, a layer that is not there or gives no maps."""
    find_layer(stage.harness.initial_network(), stage.test.take(slice(0, 1)), options.layer)


def cam_of(
    stage: TrainingStage,
    network: Classifier,
    given: AttentionInput,
    images: DeviceImages,
    classes: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return the Grad-CAM of one network, scaled to 1, at the resolution of the record."""
    network.eval()
    layer = find_layer(network, images.take(slice(0, 1)), given.options.layer)
    size = stage.given.evaluation_batch
    asked = torch.split(torch.from_numpy(classes).to(stage.device), size)
    parts = [
        grad_cam(network, layer, batch, labels)
        for batch, labels in zip(images.chunks(size), asked, strict=True)
    ]
    maps = torch.cat(parts).cpu().numpy()
    return _scaled(to_cells(maps, grid_side(maps.shape[1]), grid_side(maps.shape[2])))


def grad_cam(network: Classifier, layer: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    r"""Return where a network finds the evidence for a class (Selvaraju et al. 2017).

    .. math::
        L_{ij} = \max\Bigl(0, \sum_k a_k A^k_{ij}\Bigr), \qquad
        a_k = \frac{1}{Z} \sum_{ij} \frac{\partial y_c}{\partial A^k_{ij}}

    with the layer's maps A and the logit y of class c. Tokens of a transformer count as the
    cells of a map, without those that belong to no patch.

    Parameters
    ----------
    network : Classifier
        In eval mode.
    layer : torch.nn.Module
        A module of the network whose output are maps or tokens.
    images : torch.Tensor of float32, shape (B, C, H, W)
        In [0, 1].
    classes : torch.Tensor of int64, shape (B,)
        c of each image.

    Returns
    -------
    torch.Tensor of float32, shape (B, h, w)
        At least 0.
    """
    with _kept_output(layer) as kept, torch.enable_grad():
        logits = _logits(network, images)
        score = logits.gather(1, classes[:, None]).sum()
        (gradient,) = torch.autograd.grad(score, kept[-1])
    maps, slopes = as_maps(kept[-1].detach()), as_maps(gradient)
    if maps is None or slopes is None:
        raise MedbenchError("the layer gives no maps")
    return (slopes.mean((2, 3), keepdim=True) * maps).sum(1).relu()


@contextmanager
def _kept_output(layer: nn.Module) -> Iterator[list[Tensor]]:
    """Keep what a layer gives; the layers before it need no gradients."""
    kept: list[Tensor] = []

    def cut(_layer: nn.Module, _given: Any, output: Tensor) -> Tensor:
        kept.append(output.detach().requires_grad_())
        return kept[-1].clone()  # the next layer may write in place

    hook = layer.register_forward_hook(cut)
    try:
        yield kept
    finally:
        hook.remove()


def _extractor(network: Classifier) -> NormalisedBackbone:
    """Return what computes features, also where those of known images are kept."""
    body: Any = network.backbone
    extractor: NormalisedBackbone = body.backbone if isinstance(body, FrozenBackbone) else body
    return extractor


def _logits(network: Classifier, images: Tensor) -> Tensor:
    logits: Tensor = network.head(_extractor(network)(images))
    return logits


def as_maps(output: Any) -> Tensor | None:
    """Return a layer's output as maps (B, C, h, w), h = w > 1; none where it is something else.

    Channels may come last. Tokens (B, T, D) are the patches of a square image, row by row, after
    tokens that belong to no patch.
    """
    if not isinstance(output, Tensor) or output.ndim not in (3, 4):
        return None
    if output.ndim == 3:
        side = math.isqrt(output.shape[1])
        output = output[:, -side * side :].reshape(len(output), side, side, -1)
    if output.ndim == 4 and output.shape[2] != output.shape[3]:
        output = output.permute(0, 3, 1, 2)
    square = output.shape[2] == output.shape[3] > 1
    return output if square else None


def find_layer(network: Classifier, image: Tensor, name: str | None) -> nn.Module:
    """Return the layer whose maps are shown.

    Parameters
    ----------
    network : Classifier
        The network.
    image : torch.Tensor, shape (1, C, H, W)
        Any image.
    name : str, optional
        A module of the backbone. If not given: of a vision transformer what enters its last
        block, since after it only the class token counts; of another network the last layer
        whose maps have at least 4 x 4 cells, or else 2 x 2.

    Raises
    ------
    MedbenchError
        If there is no such module, or none gives maps.
    """
    backbone = _extractor(network).backbone
    modules: dict[str, nn.Module] = {
        path: module for path, module in backbone.named_modules() if path
    }
    if name is not None and name not in modules:
        raise MedbenchError(
            f"[attention] layer: the backbone has no layer {name!r}; its last ones are "
            f"{', '.join(list(modules)[-8:])}"
        )
    if name is None and isinstance(backbone, PatchNetwork):
        layers: Sequence[nn.Module] = backbone.layers
        return layers[-2]
    sides = _sides(network, modules, image)
    if name is not None:
        if name not in sides:
            raise MedbenchError(
                f"[attention] layer: {name!r} gives no maps of more than one cell; layers that "
                f"do are {', '.join(list(sides)[-8:]) or 'none'}"
            )
        return modules[name]
    fine = [path for path, side in sides.items() if side >= FEWEST_CELLS]
    if not sides:
        raise MedbenchError(
            f"no layer of the backbone gives maps of images of {image.shape[-1]} px; use larger "
            "images, another backbone, or leave out [attention]"
        )
    return modules[(fine or list(sides))[-1]]


@torch.no_grad()
def _sides(network: Classifier, modules: dict[str, nn.Module], image: Tensor) -> dict[str, int]:
    """Return the cells a side of the layers that give maps, in the order in which they end."""
    sides: dict[str, int] = {}

    def look(path: str) -> Any:
        def hook(_layer: nn.Module, _given: Any, output: Any) -> None:
            maps = as_maps(output)
            sides.pop(path, None)
            if maps is not None:
                sides[path] = maps.shape[2]

        return hook

    hooks = [module.register_forward_hook(look(path)) for path, module in modules.items()]
    was_training = network.training
    try:
        _logits(network.eval(), image)
    finally:
        network.train(was_training)
        for hook in hooks:
            hook.remove()
    return sides


def occlusion(
    stage: TrainingStage,
    images: DeviceImages,
    classes: NDArray[np.int64],
    blank: NDArray[np.uint8],
    side: Sequence[int],
) -> NDArray[np.float64]:
    """Return how far the probability of a class falls when a cell is blanked (Zeiler 2014).

    It needs no gradients and no layer, so that it checks Grad-CAM.

    Parameters
    ----------
    stage : TrainingStage
        Whose method predicts.
    images : DeviceImages
        n images.
    classes : ndarray of int64, shape (n,)
        The class of each.
    blank : ndarray of uint8, shape (C,)
        Colour of a blanked cell.
    side : (int, int)
        Rows and columns of cells.

    Returns
    -------
    ndarray of float64, shape (n, rows, columns)
        Falls, those below 0 taken for 0, scaled to 1.
    """
    own = np.arange(len(classes)), classes
    whole = stage.predict(images)[own]
    height, width = images.pixels.shape[-2:]
    colour = torch.from_numpy(blank).to(stage.device)[:, None, None]
    falls = np.zeros((len(classes), *side))
    for row, column in np.ndindex(*side):
        top, bottom = (height * edge // side[0] for edge in (row, row + 1))
        left, right = (width * edge // side[1] for edge in (column, column + 1))
        covered = images.subset(slice(None))
        covered.pixels[:, :, top:bottom, left:right] = colour
        falls[:, row, column] = whole - stage.predict(covered)[own]
    return _scaled(np.maximum(falls, 0))


def features(
    stage: TrainingStage, network: Classifier, positions: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return a network's features (M, D) of training images."""
    taken = torch.from_numpy(positions).to(stage.device)
    network.eval()
    with torch.inference_mode(), stage.harness.autocast():
        parts = [
            _extractor(network)(stage.train.take(part)).double()
            for part in torch.split(taken, stage.given.evaluation_batch)
        ]
    found: NDArray[np.float64] = torch.cat(parts).cpu().numpy()
    return found


def plane(features: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Project features (M, D) on their first two principal components, (M, 2).

    The larger side spans 0 to 255, and both have the same scale. The sign of a component is such
    that its largest loading is positive.
    """
    centred = features - features.mean(axis=0)
    _, _, components = np.linalg.svd(centred, full_matrices=False)
    first = np.zeros((2, features.shape[1]))
    first[: len(components[:2])] = components[:2]
    largest = np.abs(first).argmax(axis=1)
    first *= np.where(first[[0, 1], largest] < 0, -1, 1)[:, None]
    places = centred @ first.T
    places -= places.min(axis=0)
    return quantised(places / (places.max() or 1))


def _scaled(maps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale each map (N, h, w) to a largest value of 1; one without attention stays 0."""
    most = maps.max(axis=(1, 2), keepdims=True)
    scaled: NDArray[np.float64] = np.zeros(maps.shape)
    np.divide(maps, most, out=scaled, where=most > 0)
    return scaled

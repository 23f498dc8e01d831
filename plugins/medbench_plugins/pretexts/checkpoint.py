"""Weights from a file in place of a pretraining."""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from medbench.errors import MedbenchError
from medbench.interfaces import PretextTask
from medbench_plugins.pretexts.none import NoPretext
from medbench_plugins.pretexts.settings import CheckpointSettings
from medbench_plugins.pretexts.weights_files import find_weights, sha256_of


class Checkpoint(NoPretext):
    """Trains nothing: the backbone starts from weights in a file.

    Every weight of the backbone must be in the file with the same shape, under the same name
    but for a prefix; what else the file holds, such as a classifier, is left out. For images
    of one channel, the first filters are summed over three channels, as torchvision's
    backbones are built; learned positions of a vision transformer are resampled for
    another image size. Nothing is unpickled and nothing downloaded.

    The weights may have seen the test images, or other images of the same patients: the
    setting ``seen`` says on what they were trained. They expect images as in their own
    training: ``images.normalise = "imagenet"`` for most.

    Parameters
    ----------
    name : str
        The name of the pretext in the protocol.
    settings : CheckpointSettings
        Settings.

    References
    ----------
    Own, 2026.
    """

    Settings = CheckpointSettings
    settings: CheckpointSettings

    def start(self, task: PretextTask) -> nn.Module:
        """Load the weights into the backbone.

        Raises
        ------
        medbench.errors.MedbenchError
            If no file is named, it has changed, cannot be read or is of another network.
        """
        if self.settings.file is None:
            raise MedbenchError(
                f"pretext {self.name}: no weights are named; set file = "
                f'"PATH.safetensors" in [pretexts.{self.name}]'
            )
        try:
            path = find_weights(self.settings.file)
        except ValueError as error:
            raise MedbenchError(f"pretext {self.name}: {error}") from error
        if (found := sha256_of(path)) != self.settings.sha256:
            raise MedbenchError(
                f"{path} has the SHA-256 {found[:12]}…, not {str(self.settings.sha256)[:12]}…: it "
                "was replaced; run the command again for what it holds now"
            )
        own = task.backbone.state_dict()
        names = matching(list(own), read_weights(path), self.settings.prefix, str(path))
        task.backbone.load_state_dict(
            {name: _fitting(name, own[name], tensor, path) for name, tensor in names.items()},
            strict=False,
        )
        return super().start(task)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return all tensors of a file; names of nested dictionaries are joined by dots.

    Raises
    ------
    MedbenchError
        If it is neither safetensors nor a file of torch that can be read without unpickling.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return dict(_tensors(torch.load(path, map_location="cpu", weights_only=True)))
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, SafetensorError) as error:
        raise MedbenchError(
            f"{path} is no file of weights that can be read safely ({type(error).__name__}); "
            "save the state dict alone, by torch.save(model.state_dict(), PATH) or as safetensors"
        ) from error


def _tensors(value: Any, place: str = "") -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield place, value
    elif isinstance(value, Mapping):
        for name, part in value.items():
            yield from _tensors(part, f"{place}.{name}" if place else str(name))


def matching(
    own: list[str], found: Mapping[str, Tensor], prefix: str | None, file: str
) -> dict[str, Tensor]:
    """Return the tensor of a file for each name of a backbone's weights.

    Parameters
    ----------
    own : list of str
        The backbone's names; those of counters (``num_batches_tracked``) may be missing.
    found : mapping of str to torch.Tensor
        The file's.
    prefix : str or None
        What the backbone's names begin with in the file. ``None`` takes the prefix with
        which most names are found.
    file : str
        Its name in messages.

    Raises
    ------
    MedbenchError
        If a name is missing, or two prefixes fit equally well.
    """
    needed = [name for name in own if not name.endswith("num_batches_tracked")]
    # modules that medbench puts around a network put a prefix to its names, too
    around = [p for p in _prefixes(needed[0]) if all(name.startswith(p) for name in needed)]
    tried = {p for name in found for p in _prefixes(name)} if prefix is None else {prefix}
    hits = {
        (p, a): sum(p + name.removeprefix(a) in found for name in needed)
        for p in tried
        for a in around
    }
    best = [pair for pair, count in hits.items() if count == max(hits.values())]
    p, a = best[0]
    missing = [name for name in needed if p + name.removeprefix(a) not in found]
    if len(missing) == len(needed):
        raise MedbenchError(
            f"{file}: none of its names is one of the backbone's, such as "
            f"{needed[0].removeprefix(around[-1])}; it has {', '.join(sorted(found)[:3])}…: take "
            "the backbone that the weights were trained with, or set prefix"
        )
    if missing:
        raise MedbenchError(
            f"{file} lacks {len(missing)} of the backbone's {len(needed)} weights, first "
            f"{missing[0].removeprefix(a)}: take the backbone that the weights were trained with"
        )
    if len(best) > 1:
        prefixes = " and ".join(sorted(repr(pair[0]) for pair in best))
        raise MedbenchError(f"{file}: the prefixes {prefixes} fit equally well: set prefix to one")
    return {name: found[key] for name in own if (key := p + name.removeprefix(a)) in found}


def _prefixes(name: str) -> list[str]:
    """Return what a dotted name may begin with, the shortest first: "", "a.", "a.b."."""
    parts = name.split(".")
    return ["".join(f"{part}." for part in parts[:end]) for end in range(len(parts))]


def _fitting(name: str, own: Tensor, found: Tensor, path: Path) -> Tensor:
    """Return a tensor of the file for one of the backbone's, of the same shape."""
    if own.dim() == 4 and own.shape[1] == 1 and found.dim() == 4 and found.shape[1] == 3:
        found = found.sum(1, keepdim=True)
    if "pos_embed" in name and found.shape[::2] == own.shape[::2]:
        found = resampled(found, own.shape[1])
    if found.shape != own.shape:
        raise MedbenchError(
            f"{path}: {name} has the shape {tuple(found.shape)}, the backbone's {tuple(own.shape)}:"
            " take the backbone and its settings that the weights were trained with"
        )
    return found


def resampled(positions: Tensor, count: int) -> Tensor:
    """Return learned positions (1, N, D) for another grid, (1, count, D), where both are squares.

    Positions of a class token and the like come first; they are kept.
    """
    for first in range(8):
        old, new = (math.isqrt(max(0, n - first)) for n in (positions.shape[1], count))
        if old and new and old**2 + first == positions.shape[1] and new**2 + first == count:
            grid = positions[:, first:].reshape(1, old, old, -1).permute(0, 3, 1, 2)
            grid = F.interpolate(grid.float(), (new, new), mode="bicubic", antialias=True)
            return torch.cat([positions[:, :first], grid.flatten(2).transpose(1, 2)], 1)
    return positions

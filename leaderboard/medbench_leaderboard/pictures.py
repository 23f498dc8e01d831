"""Pictures of test images with the outline of their mask and the attention of a run."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medbench.folders import default_cache
from medbench.plugins.sandbox import Call, run_calls

#: Pixels of the side of a picture.
SIDE = 96

#: Seconds that a dataset may take to give its images.
_LIMIT = 60.0

#: Colours of attention from none to most, dark to bright also without colour.
_RAMP = np.array([[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]])

#: Colour of the mask's outline.
_OUTLINE = (64, 224, 255)

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Picture:
    """A test image at the size of the page: pixels (SIDE, SIDE, 3) and mask (SIDE, SIDE)."""

    pixels: Pixels
    mask: NDArray[np.bool_] | None


def find_pictures(
    wanted: Mapping[str, tuple[Mapping[str, Any], Sequence[str]]],
) -> tuple[dict[tuple[str, str], Picture], dict[str, str]]:
    """Read test images of datasets that are prepared on this machine.

    Plugins are foreign code: each dataset is opened in a sandbox.

    Parameters
    ----------
    wanted : mapping
        By dataset: its spec as plain JSON values, and ids of images.

    Returns
    -------
    pictures : dict of (str, str) to Picture
        By dataset and id.
    faults : dict of str to str
        By dataset: why its images are not at hand.
    """
    cache = str(default_cache().absolute())
    calls = [
        Call(name, f"{__name__}:read_pictures",
             {"dataset": dict(spec), "ids": list(ids), "cache": cache})
        for name, (spec, ids) in wanted.items()
    ]  # fmt: skip
    found: dict[tuple[str, str], Picture] = {}
    faults = {}
    for call, answer in zip(calls, run_calls(calls, _LIMIT), strict=True):
        if answer.fault:
            faults[call.name] = answer.fault
            continue
        for name, (pixels, mask) in answer.value.items():
            raw = np.frombuffer(base64.b64decode(pixels), np.uint8).reshape(SIDE, SIDE, 3)
            inside = np.frombuffer(base64.b64decode(mask), np.uint8).reshape(-1, SIDE) > 0
            found[call.name, name] = Picture(raw, inside if len(inside) else None)
    return found, faults


def read_pictures(dataset: Mapping[str, Any], ids: Sequence[str], cache: str) -> Any:
    """Return images and masks by id, each as Base64 of raw bytes; called in a sandbox.

    Raises
    ------
    MedbenchError
        If the dataset is not prepared here, or has changed since the runs.
    """
    from medbench.errors import MedbenchError
    from medbench.interfaces.dataset import DataContext
    from medbench.plugins.registry import discover
    from medbench.protocol.spec import DatasetSpec

    context = DataContext(Path(cache))
    spec = DatasetSpec.from_json(dataset)
    plugin = spec.create(discover(), "dataset")
    if plugin.card(context).content_hash != spec.content_hash:
        raise MedbenchError("it has changed since the runs")
    with plugin.open(context) as data:
        places = {name: place for place, name in enumerate(np.asarray(data.ids).tolist())}
        rows = np.sort(np.array([places[name] for name in ids], np.int64))
        images = np.asarray(data.images[rows])
        masks = None if data.masks is None else np.asarray(data.masks[rows])
        names = np.asarray(data.ids)[rows].tolist()
    found = {}
    for index, name in enumerate(names):
        pixels = _sized(images[index].squeeze(-1) if images.shape[3] == 1 else images[index])
        mask = b"" if masks is None else _sized(masks[index] * np.uint8(255), "L").tobytes()
        if mask:
            mask = (np.frombuffer(mask, np.uint8) >= 128).astype(np.uint8).tobytes()
        parts = (pixels.tobytes(), mask)
        found[str(name)] = [base64.b64encode(part).decode() for part in parts]
    return found


def _sized(pixels: Pixels, mode: str = "RGB") -> Pixels:
    image = Image.fromarray(np.ascontiguousarray(pixels)).convert(mode)
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def no_picture(shares: NDArray[np.uint8] | None) -> Picture:
    """Return grey in the place of an image, with the mask as far as its record knows it."""
    grey = np.full((SIDE, SIDE, 3), 128, np.uint8)
    return Picture(grey, None if shares is None else _enlarged(shares) >= 128)


def draw_attention(picture: Picture, attention: NDArray[np.uint8]) -> str:
    """Draw an image with its mask's outline, and next to it the same with attention.

    Parameters
    ----------
    picture : Picture
        The image.
    attention : ndarray of uint8, shape (h, w)
        The map.

    Returns
    -------
    str
        The URL of a JPEG image, 2 SIDE x SIDE.
    """
    strength = _enlarged(attention) / 255
    place = strength[..., None] * (len(_RAMP) - 1)
    low = np.minimum(place.astype(int), len(_RAMP) - 2)[..., 0]
    colour = _RAMP[low] + (place - low[..., None]) * (_RAMP[low + 1] - _RAMP[low])
    # as strong as the attention, so that the image stays to be seen where there is none
    opacity = 0.75 * np.sqrt(strength)[..., None]
    covered = (1 - opacity) * picture.pixels + opacity * colour
    both = np.concatenate([picture.pixels, covered.astype(np.uint8)], axis=1)
    if picture.mask is not None:
        both[np.tile(_edge(picture.mask), 2)] = _OUTLINE
    buffer = io.BytesIO()
    Image.fromarray(both).save(buffer, "JPEG", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _enlarged(cells: NDArray[np.uint8]) -> Pixels:
    return np.asarray(Image.fromarray(cells).resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def _edge(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels of a mask with a neighbour that is not part of it."""
    within = np.pad(mask, 1)
    inner = within[:-2, 1:-1] & within[2:, 1:-1] & within[1:-1, :-2] & within[1:-1, 2:]
    edge: NDArray[np.bool_] = mask & ~inner
    return edge

"""The sheet: one HTML file with the most suspect images, for a specialist to decide."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.resources import files
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from medbench.suspects.table import Suspect

#: Most images on a sheet.
MOST_SHOWN = 400

#: Most pixels of a side of a picture.
_SIDE = 256


def render_sheet(
    name: str,
    classes: Sequence[str],
    content_hash: str,
    suspects: Sequence[Suspect],
    estimate: str,
    image: Callable[[int], NDArray[np.uint8]],
    cache: str = "",
) -> str:
    """Return the sheet as HTML, which needs no other file and no network.

    Parameters
    ----------
    name, classes, content_hash
        Of the dataset.
    suspects : sequence of Suspect
        All images, the most suspect first.
    estimate : str
        How many labels are wrong, in words.
    image : callable
        Returns the pixels (H, W, C) of an image by its row number.
    cache : str
        What the next command needs to find the dataset, such as ``" --cache FOLDER"``.
    """
    codes = {each: code for code, each in enumerate(classes)}
    cards = [
        asdict(suspect)
        | _picture(image(suspect.row))
        | {"label": codes[suspect.label], "suggested": codes[suspect.suggested_label]}
        for suspect in suspects[:MOST_SHOWN]
    ]
    script = _asset("sheet.js")
    return (
        _environment()
        .get_template("sheet.html")
        .render(
            name=name,
            classes=classes,
            images=len(suspects),
            estimate=estimate,
            cards=cards,
            data={
                "name": name,
                "classes": list(classes),
                "content_hash": content_hash,
                "cache": cache,
            },
            style=Markup(_asset("sheet.css")),
            script=Markup(script),
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )


def _picture(pixels: NDArray[np.uint8]) -> dict[str, Any]:
    """Return an image as the address of its content, and its size."""
    picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    picture.thumbnail((_SIDE, _SIDE))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=88)
    content = base64.b64encode(out.getvalue()).decode()
    address = f"data:image/jpeg;base64,{content}"
    return {"picture": address, "width": picture.width, "height": picture.height}


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("medbench.suspects"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _asset(name: str) -> str:
    return (files("medbench.suspects") / "templates" / name).read_text(encoding="utf-8")

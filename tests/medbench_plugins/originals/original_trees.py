"""Small trees in the original layouts, made of real images from the embedded datasets."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from medbench.data import Prepared, PreparedDataset, PrepareOptions
from medbench.interfaces import DataContext
from medbench_plugins.datasets import embedded

Files = dict[str, bytes]


def embedded_images(name: str) -> Path:
    return embedded.DATA / f"{name}.h5"


def encoded(image: np.ndarray, kind: str) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image.squeeze()).save(out, kind)
    return out.getvalue()


def write_tree(root: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def write_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def prepare(dataset: PreparedDataset, cache: Path, *sources: Path, **options: Any) -> Prepared:
    context = DataContext(cache, workers=1)
    return dataset.prepare(sources, context, PrepareOptions(**options), lambda done, total: None)


def indexed(dataset: Any, *sources: Path) -> Any:
    return dataset.index(dataset.find_files(sources))

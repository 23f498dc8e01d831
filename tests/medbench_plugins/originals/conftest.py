"""What several of these tests begin with."""

from __future__ import annotations

import numpy as np
import pytest
from original_trees import Files, embedded_images, encoded

from medbench.data import open_images


@pytest.fixture(scope="session")
def clinic() -> Files:
    """Class folders with a folder a patient: 10 patients a class, 4 images each."""
    files: Files = {}
    with open_images(embedded_images("pneumonia-mnist")) as data:
        for label, class_name in enumerate(("healthy", "ill")):
            for number, place in enumerate(np.flatnonzero(data.labels == label)[:40]):
                name = f"{class_name}/p{label}{number // 4}/{number:02d}.png"
                files[name] = encoded(data.images[place], "PNG")
    return files

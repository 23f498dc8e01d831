"""No test image of a run enters its pretraining, in whichever dataset it is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from medbench.errors import MedbenchError
from medbench.interfaces.dataset import SPLITS, DataContext
from medbench.plugins.registry import Registry
from medbench.protocol.spec import DatasetSpec, RunSpec
from medbench.store.pixels import Pixels

#: Images read at once.
_BLOCK = 256
#: Bytes of a hash; among a billion images no two agree by chance.
_HASH_BYTES = 16


def check_held_out(
    runs: Iterable[RunSpec], registry: Registry, context: DataContext, pixels: Pixels
) -> None:
    """Refuse curricula that are trained on test images of any dataset in the run.

    Images are compared as they are stored, exactly, grey ones with colour ones too. The
    splits of one dataset have no image in common, so that only steps on another dataset than
    the run's are looked at, and nothing is read where there is none.

    Parameters
    ----------
    runs : iterable of RunSpec
        What is to be run.
    registry : Registry
        The plugins.
    context : DataContext
        Where datasets are.
    pixels : Pixels
        Keeps hashes for other commands that share the results folder.

    Raises
    ------
    MedbenchError
        Naming a pretext, both datasets and the first image.
    """
    seen: set[tuple[str, str]] = set()
    for run in runs:
        datasets = {each.key: each for each in (run.dataset, *(s.dataset for s in run.steps))}
        for step in (step for step in run.steps if step.stage.epochs):
            for tested in datasets.values():
                pair = (step.dataset.key, tested.key)
                if pair in seen or step.dataset.content_hash == tested.content_hash:
                    continue
                seen.add(pair)
                trained = split_hashes(step.dataset, "train", registry, context, pixels)
                held_out = split_hashes(tested, "test", registry, context, pixels)
                common, rows, _ = np.intersect1d(trained, held_out, return_indices=True)
                if len(common):
                    with step.dataset.create(registry, "dataset").open(context) as data:
                        train = np.flatnonzero(np.asarray(data.split) == SPLITS["train"])
                        first = data.ids[train[rows.min()]]
                    raise MedbenchError(
                        f"pretext {run.pretext}: training images of {step.dataset.name} are test "
                        f"images of {tested.name}, {len(common)} in all, such as {first}; take "
                        "another dataset for that step, or prepare it without them"
                    )


def split_hashes(
    dataset: DatasetSpec, split: str, registry: Registry, context: DataContext, pixels: Pixels
) -> NDArray[np.void]:
    """Return a hash of 16 bytes for each image of a split, as it is stored, shape (N,)."""

    def read() -> Iterator[NDArray[np.uint8]]:
        with dataset.create(registry, "dataset").open(context) as data:
            rows = np.flatnonzero(np.asarray(data.split) == SPLITS[split])
            blocks = (rows[i : i + _BLOCK] for i in range(0, len(rows), _BLOCK))
            for block in blocks:
                hashes = b"".join(map(image_hash, data.images[block]))
                yield np.frombuffer(hashes, np.uint8).reshape(-1, _HASH_BYTES)

    found = pixels.get([dataset.to_json(), "hashes", split], (_HASH_BYTES,), read)
    return np.ascontiguousarray(found).view(np.dtype((np.void, _HASH_BYTES))).reshape(-1)


def image_hash(image: NDArray[np.uint8]) -> bytes:
    """Return the hash of an image (H, W, C); grey in three equal channels is grey."""
    if image.shape[2] == 3 and (image == image[:, :, :1]).all():
        image = image[:, :, :1]
    digest = partial(hashlib.blake2b, digest_size=_HASH_BYTES)
    return digest(str(image.shape).encode() + np.ascontiguousarray(image).tobytes()).digest()

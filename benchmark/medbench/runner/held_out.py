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
    """Refuse pretrainings on test images of any dataset in the run.

    Images are compared as they are stored, exactly, grey ones with colour ones too. Copies in the
    splits of one dataset are refused unless its card names them, because a published split may
    have some. A prepared dataset is not read for this: its audit looked for them.

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
                if pair not in seen:
                    seen.add(pair)
                    found = _common(step.dataset, tested, registry, context, pixels)
                    if found:
                        raise MedbenchError(f"pretext {run.pretext}: {found}")


def _common(
    trained: DatasetSpec,
    tested: DatasetSpec,
    registry: Registry,
    context: DataContext,
    pixels: Pixels,
) -> str:
    """Say which training images of a dataset are test images of one; "" if that is allowed."""
    dataset = trained.create(registry, "dataset")
    card = dataset.card(context)
    own = trained.content_hash == tested.content_hash
    if own and "exact_duplicates" in card.audit:
        return ""
    hashes = split_hashes(trained, "train", registry, context, pixels)
    held_out = split_hashes(tested, "test", registry, context, pixels)
    rows = np.flatnonzero(np.isin(hashes, held_out))
    if not len(rows):
        return ""
    with dataset.open(context) as data:
        ids = data.ids[np.flatnonzero(np.asarray(data.split) == SPLITS["train"])[rows]].tolist()
    count = f"{len(ids)} in all, such as {ids[0]}"
    if not own:
        return (
            f"training images of {trained.name} are test images of {tested.name}, {count}; take "
            "another dataset for that step, or prepare it without them"
        )
    if all(any(name in text for text in card.confounders) for name in ids):
        return ""
    return (
        f"training images of {trained.name} are test images of the same dataset, {count}; take "
        "them out of one split, or name each among the confounders of its card"
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

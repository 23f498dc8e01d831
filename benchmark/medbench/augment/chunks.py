"""Work in chunks that stay in a CPU's cache, each by one thread."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Barrier

import torch
from torch import Tensor

#: Bytes of float32 images in a chunk. Larger chunks leave the caches at each operation; with
#: smaller ones calls cost more, and threads wait for each other more often (docs/performance.md).
_BYTES = 4 * 1024 * 1024


def in_chunks(
    change: Callable[..., Tensor], images: Tensor, parameters: Mapping[str, Tensor]
) -> Tensor:
    """Apply a change that treats each image alone: on a CPU a few images at a time.

    Each chunk is computed by one of torch's threads, so that the result does not depend on
    how many there are.

    Parameters
    ----------
    change : callable
        Takes images and, by name, their parameters; returns images of the same shape.
    images : torch.Tensor of float32, shape (B, C, H, W)
        Images.
    parameters : mapping of str to torch.Tensor, shape (B, ...)
        Of each image.

    Returns
    -------
    torch.Tensor of float32, shape (B, C, H, W)
        Changed images.
    """
    if images.device.type != "cpu":
        return change(images.contiguous(), **parameters)
    changed = torch.empty(images.shape, device=images.device)
    largest = max(1, _BYTES // max(1, images[:1].nbytes))
    size = -(-len(images) // max(1, -(-len(images) // largest)))  # all of about the same size
    inference = torch.is_inference_mode_enabled()  # each thread has its own

    def work(start: int) -> None:
        part = slice(start, start + size)
        few = {name: values[part] for name, values in parameters.items()}
        with torch.inference_mode(inference):
            changed[part] = change(images[part].contiguous(), **few)

    starts, threads = range(0, len(images), max(1, size)), torch.get_num_threads()
    for _ in map(work, starts) if threads == 1 else _pool(threads).map(work, starts):
        pass
    return changed


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Return a pool in whose threads torch uses no further ones."""
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    started = Barrier(threads + 1)
    for _ in range(threads):
        pool.submit(started.wait)
    started.wait()
    torch.set_num_threads(threads)  # of this thread, and of those that others start
    return pool


# a forked process has none of the threads
os.register_at_fork(after_in_child=_pool.cache_clear)

"""Layout of a dataset file, its content hash, and how damage is reported.

One HDF5 file holds a whole dataset. Embedded datasets ship as such files and
``medbench data prepare`` writes them.

==============  =====================  ==============================================
name            type and shape         content
==============  =====================  ==============================================
``images``      uint8 (N, H, W, C)     C is 1 (grey) or 3 (RGB)
``masks``       uint8 (N, H, W)        optional region of interest, values 0 and 1
``labels``      int64 (N,)             classes 0 to K-1
``split``       uint8 (N,)             codes of :data:`medbench.interfaces.SPLITS`
``ids``         UTF-8 bytes (N,)       unique, none empty
``groups``      UTF-8 bytes (N,)       optional
==============  =====================  ==============================================

Every array is stored in chunks with a checksum each, compressed by gzip or not. Each array
carries its digest as the attribute ``sha256``. The root carries ``format``,
``format_version`` and ``card`` (the dataset card as JSON). Strings have a fixed length,
because HDF5 stores those of variable length where no checksum covers them.

Content hash
------------
Each array is described by one line, ``NAME TYPE SHAPE DIGEST`` and a line feed,
for example ``images uint8 5826x64x64x1 9f86...``. DIGEST is the SHA-256 of the
array's bytes: row by row (C order), numbers little-endian, each string as UTF-8
followed by one zero byte (TYPE is then ``str``). The content hash is the SHA-256 of the
lines of ``images``, ``labels``, ``split`` and ``ids``, in this order, and, unless the labels of
all splits are trusted, of one more line such as ``trusted validation,test``. It depends neither
on compression nor on chunks nor on the HDF5 library.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from medbench.errors import MedbenchError
from medbench.interfaces.dataset import SPLITS, all_trusted

FORMAT = "medbench-images"

#: The version that is written and read.
FORMAT_VERSION = 1

#: Arrays whose digests make up the content hash, in this order.
HASHED_ARRAYS = ("images", "labels", "split", "ids")

#: Advice about a damaged file when the caller has none.
DEFAULT_FIX = "replace it with a whole copy"

# What h5py and the decoding of attributes raise on damaged bytes.
_DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError)


class DatasetFileError(MedbenchError):
    """A dataset file is missing, damaged, of another format or cannot be written."""


def split_sizes(split: NDArray[np.uint8]) -> dict[str, int]:
    """Return the number of images in each split."""
    return {name: int(np.count_nonzero(split == code)) for name, code in SPLITS.items()}


def digest(blocks: Iterable[NDArray[Any]]) -> str:
    """Return the SHA-256 of an array, given in blocks of rows."""
    digest = hashlib.sha256()
    for block in blocks:
        if block.dtype.kind == "S":
            digest.update(b"".join(text + b"\0" for text in block.tolist()))
        else:
            little = block.astype(block.dtype.newbyteorder("<"), copy=False)
            digest.update(np.ascontiguousarray(little).data)
    return digest.hexdigest()


def hash_line(name: str, array: h5py.Dataset, digest: str) -> str:
    """Return the line that describes an array in the content hash."""
    kind = "str" if array.dtype.kind == "S" else array.dtype.name
    return f"{name} {kind} {'x'.join(map(str, array.shape))} {digest}\n"


def content_hash_of(lines: Mapping[str, str], trusted: Collection[str]) -> str:
    """Return the content hash of the arrays that these lines describe, by name."""
    text = "".join(lines[name] for name in HASHED_ARRAYS)
    if not all_trusted(trusted):  # another trust is another experiment
        text += f"trusted {','.join(split for split in SPLITS if split in trusted)}\n"
    return hashlib.sha256(text.encode()).hexdigest()


def attribute(owner: h5py.File | h5py.Dataset, name: str) -> str:
    """Return a text that is stored as bytes of fixed length."""
    return bytes(owner.attrs[name]).decode()


@contextmanager
def damage_reported(
    path: Path, fix: str, kinds: tuple[type[Exception], ...] = _DAMAGE
) -> Iterator[None]:
    """Turn errors of damaged bytes into one line that names the file and the fix."""
    try:
        yield
    except FileNotFoundError as error:
        raise DatasetFileError(f"{path}: no such file; {fix}") from error
    except PermissionError as error:
        raise DatasetFileError(f"{path}: permission denied; make it readable") from error
    except kinds as error:
        reason = " ".join(str(error).split())
        raise DatasetFileError(f"{path}: damaged dataset file ({reason}); {fix}") from error

"""What an image file looks like: its names, its hashes, and how damage is told.

One HDF5 file holds a whole dataset. Embedded datasets ship as such files and
``medbench data prepare`` writes one.

==============  =====================  ==============================================
name            type and shape         content
==============  =====================  ==============================================
``images``      uint8 (N, H, W, C)     C is 1 (grey) or 3 (RGB)
``digests``     uint8 (N, 32)          SHA-256 of each image; format 2 only
``masks``       uint8 (N, H, W)        optional region of interest, values 0 and 1
``labels``      int64 (N,)             classes 0 to K-1
``split``       uint8 (N,)             codes of :data:`medbench.interfaces.SPLITS`
``ids``         UTF-8 bytes (N,)       unique, none empty
``groups``      UTF-8 bytes (N,)       optional
==============  =====================  ==============================================

In format 1 all arrays are gzip-compressed chunks with a checksum each. In format 2
the images stand row by row, as they are, so that several processes can fill
the file and any image can be read without its neighbours; ``digests`` take the
place of the checksums. All other arrays are as in format 1.

Each array carries its digest as the attribute ``sha256``. The root carries
``format``, ``format_version`` and ``card`` (the dataset card as JSON). Strings
have a fixed length, because HDF5 keeps those of variable length where no
checksum covers them.

Content hash
------------
Each array is described by one line, ``NAME TYPE SHAPE DIGEST`` and a line feed,
for example ``images uint8 5826x64x64x1 9f86...``. DIGEST is the SHA-256 of the
array's bytes: row by row (C order), numbers little-endian, each string as UTF-8
followed by one zero byte (TYPE is then ``str``). In format 2 the digest of
``images`` is ``rows:`` and the SHA-256 of their ``digests``. The content hash is the
SHA-256 of the lines of ``images``, ``labels``, ``split`` and ``ids``, in this order.
It depends neither on compression nor on chunks nor on the HDF5 library.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from medbench.errors import MedbenchError
from medbench.interfaces.dataset import SPLITS

FORMAT = "medbench-images"

#: The newest version that is read.
FORMAT_VERSION = 2

#: Versions of files whose images are compressed in chunks, or stand row by row.
CHUNKED, ROW_BY_ROW = 1, 2

#: Bytes of a SHA-256.
DIGEST_BYTES = 32

#: Arrays whose digests make up the content hash, in this order.
HASHED_ARRAYS = ("images", "labels", "split", "ids")

#: What to do about a damaged file when the caller knows nothing better.
DEFAULT_CURE = "replace it by a whole copy"


# What h5py and the decoding of attributes raise on damaged bytes.
_DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError)


class ImagesFileError(MedbenchError):
    """An image file is missing, damaged, of a newer format or cannot be written."""


def split_sizes(split: NDArray[np.uint8]) -> dict[str, int]:
    """Return the number of images in each split."""
    return {name: int(np.count_nonzero(split == code)) for name, code in SPLITS.items()}


def digest(blocks: Iterable[NDArray[Any]]) -> str:
    """Return the SHA-256 of an array, given in blocks of rows."""
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(_canonical_bytes(block))
    return digest.hexdigest()


def _canonical_bytes(block: NDArray[Any]) -> bytes:
    if block.dtype.kind == "S":
        return b"".join(text + b"\0" for text in block.tolist())
    return block.astype(block.dtype.newbyteorder("<"), copy=False).tobytes()


def digest_of_rows(digests: NDArray[np.uint8]) -> str:
    """Return the digest of images that stand row by row, from those of the rows (N, 32)."""
    return f"rows:{hashlib.sha256(digests.tobytes()).hexdigest()}"


def hash_line(name: str, array: h5py.Dataset, digest: str) -> str:
    """Return the line that describes an array in the content hash."""
    kind = "str" if array.dtype.kind == "S" else array.dtype.name
    return f"{name} {kind} {'x'.join(map(str, array.shape))} {digest}\n"


def content_hash_of(lines: Mapping[str, str]) -> str:
    """Return the content hash of the arrays that these lines describe, by name."""
    return hashlib.sha256("".join(lines[name] for name in HASHED_ARRAYS).encode()).hexdigest()


def attribute(owner: h5py.File | h5py.Dataset, name: str) -> str:
    """Return a text that is kept as bytes of fixed length."""
    return bytes(owner.attrs[name]).decode()


@contextmanager
def damage_named(
    path: Path, cure: str, kinds: tuple[type[Exception], ...] = _DAMAGE
) -> Iterator[None]:
    """Turn what damaged bytes cause into one line that names the file and the cure."""
    try:
        yield
    except FileNotFoundError as error:
        raise ImagesFileError(f"{path}: no such file; {cure}") from error
    except PermissionError as error:
        raise ImagesFileError(f"{path}: permission denied; make it readable") from error
    except kinds as error:
        reason = " ".join(str(error).split())
        raise ImagesFileError(f"{path}: damaged image file ({reason}); {cure}") from error

"""MedMNIST, from the publisher's npz files, at 28, 64, 128 and 224 px."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from medbench.data.hashing import difference_hashes, sampled, thumbnails
from medbench.data.hdf5_dataset import PreparedDataset
from medbench.data.images_writing import ImageBatch, write_images
from medbench.data.sources import LayoutError, PrepareError, RefusedError
from medbench.interfaces.dataset import SPLITS, DataContext, DatasetCard
from medbench.interfaces.settings import Settings
from medbench_plugins.datasets.medmnist_sets import SETS

if TYPE_CHECKING:
    from medbench.data.download import Download
    from medbench.data.prepare import Observer, Prepared, PrepareOptions

_SPLITS = {"train": "train", "val": "validation", "test": "test"}
_BLOCK_BYTES = 16 * 1024**2
_DOWNLOADS = "https://zenodo.org/records/10519652"


class MedMnistSettings(Settings):
    """Which set of MedMNIST, and at which size."""

    set: Literal[tuple(SETS)] = Field("pathmnist", description="set of MedMNIST")  # type: ignore[valid-type]
    size: Literal[28, 64, 128, 224] = Field(28, description="height and width in pixels")


class MedMnist(PreparedDataset):
    """A 2D single-label set of MedMNIST v2, as published, in its own split.

    Yang et al. 2023, doi:10.1038/s41597-022-01721-8. Prepared from the
    publisher's npz file, which is checked against its published MD5; one file
    a size, so several sizes can stand side by side.
    """

    Settings: ClassVar[type[Settings]] = MedMnistSettings

    def target(self, context: DataContext) -> Path:
        """Return where the file of this set and size is, or will be."""
        return context.cache / f"medmnist-{self.settings.set}-{self.settings.size}.h5"

    @property
    def _command(self) -> str:
        npz = _file_name(self.settings.set, self.settings.size)
        return f"medbench data prepare medmnist:{self.settings.set} {npz}"

    def downloads(self, size: int | None) -> Sequence[Download]:
        """Return the publisher's npz file of the size asked for, or else of the settings'."""
        from medbench.data.download import Download

        sums = SETS[self.settings.set].md5
        pixels = size or self.settings.size
        if pixels not in sums:
            sizes = ", ".join(map(str, sums))
            raise LayoutError(f"{self.name}: published at {sizes} px, not at {pixels}")
        npz = _file_name(self.settings.set, pixels)
        return [Download(f"{_DOWNLOADS}/files/{npz}?download=1", npz, sums[pixels])]

    def prepare(
        self,
        sources: Sequence[Path],
        context: DataContext,
        options: PrepareOptions,
        observer: Observer,
    ) -> Prepared:
        """Check and convert one npz file; its size in pixels decides which dataset it becomes."""
        from medbench.data.prepare import Prepared, check_space

        source = _one_file(sources)
        with _npz(source) as archive:
            arrays = {split: _image_header(archive, source, split) for split in _SPLITS}
            pixels, channels = self._check_shapes(source, arrays, options.size)
            self._check_md5(source, pixels)
            settings = self.settings.model_copy(update={"size": pixels})
            path = type(self)(self.name, settings).target(context)
            count = sum(array.shape[0] for array in arrays.values())
            check_space(path, count * pixels * pixels * channels)
            labels = self._labels(archive, source, arrays)
            card = self._write(archive, arrays, labels, path, observer)
        return Prepared(path, card, self._usage(pixels))

    def _check_shapes(
        self, source: Path, arrays: dict[str, _Header], asked: int | None
    ) -> tuple[int, int]:
        described = SETS[self.settings.set]
        shapes = {array.shape[1:] for array in arrays.values()}
        (shape, *others) = sorted(shapes)
        square = not others and len(shape) in (2, 3) and shape[0] == shape[1]
        channels = shape[2] if len(shape) == 3 else 1
        if not square or shape[0] not in described.md5 or channels != described.channels:
            sizes = ", ".join(map(str, described.md5))
            raise LayoutError(
                f"{source}: images of shape {' and '.join(map(str, sorted(shapes)))}; expected"
                f" square ones of {sizes} px with {described.channels} channels, all alike"
            )
        if asked not in (None, shape[0]):
            raise LayoutError(
                f"{source}: holds images of {shape[0]} px, --size asks for {asked};"
                f" give the file of that size, or leave --size out and set images.size in the"
                " protocol"
            )
        return shape[0], channels

    def _check_md5(self, source: Path, pixels: int) -> None:
        expected = SETS[self.settings.set].md5[pixels]
        with source.open("rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
        if found.hexdigest() != expected:
            raise PrepareError(
                f"{source}: MD5 {found.hexdigest()}, published for {self.settings.set} at"
                f" {pixels} px is {expected}; download it again from {_DOWNLOADS}"
            )

    def _labels(
        self, archive: zipfile.ZipFile, source: Path, arrays: dict[str, _Header]
    ) -> NDArray[np.int64]:
        parts = []
        for split, header in arrays.items():
            name = f"{split}_labels.npy"
            with archive.open(name) as file:
                label_header = _read_header(file, source, name, archive.getinfo(name).file_size)
                values = np.frombuffer(file.read(label_header.bytes), label_header.dtype)
            if label_header.shape not in ((header.shape[0],), (header.shape[0], 1)):
                raise LayoutError(
                    f"{source}: {name} has shape {label_header.shape}, expected one label for"
                    f" each of {header.shape[0]} images"
                )
            parts.append(values.astype(np.int64))
        labels = np.concatenate(parts)
        classes = len(SETS[self.settings.set].class_names)
        if labels.min() < 0 or labels.max() >= classes:
            raise LayoutError(f"{source}: labels outside 0 to {classes - 1}")
        return labels

    def _write(
        self,
        archive: zipfile.ZipFile,
        arrays: dict[str, _Header],
        labels: NDArray[np.int64],
        path: Path,
        observer: Observer,
    ) -> DatasetCard:
        from medbench.data.audit import AuditedImages, audit_images
        from medbench.data.prepare import with_audit

        counts = {split: array.shape[0] for split, array in arrays.items()}
        split = np.repeat([SPLITS[_SPLITS[name]] for name in counts], list(counts.values()))
        ids = [
            f"{_SPLITS[name]}-{number:06d}"
            for name, count in counts.items()
            for number in range(1, count + 1)
        ]
        seen = _Seen()

        def batches() -> Iterator[ImageBatch]:
            done = 0
            for name, header in arrays.items():
                for images in _image_blocks(archive, f"{name}_images.npy", header):
                    seen.add(images)
                    done += len(images)
                    yield ImageBatch(images)
                    observer(done, len(ids), 0)

        def complete(card: DatasetCard) -> DatasetCard:
            codes = split.astype(np.uint8)
            hashes = np.concatenate(seen.hashes)
            thumbs = np.concatenate(seen.thumbs)
            data = AuditedImages(labels, codes, ids, None, hashes, thumbs, seen.digests)
            return with_audit(card, audit_images(data, card.class_names))

        header = arrays["train"]
        return write_images(
            path,
            self._card((header.shape[1], header.shape[2], SETS[self.settings.set].channels)),
            batches(),
            labels=labels,
            split=split,
            ids=ids,
            gzip_level=1,
            complete=complete,
        )

    def _card(self, shape: tuple[int, int, int]) -> DatasetCard:
        described = SETS[self.settings.set]
        return DatasetCard(
            name=f"medmnist:{self.settings.set}",
            title=f"{described.title} at {shape[0]} px",
            modality=described.modality,
            class_names=described.class_names,
            image_shape=shape,
            split_sizes={},
            licence=described.licence,
            citation=(
                "Yang J, Shi R, Wei D, et al. MedMNIST v2 - A large-scale lightweight benchmark"
                " for 2D and 3D biomedical image classification. Scientific Data 10:41 (2023),"
                " doi:10.1038/s41597-022-01721-8"
            ),
            source=f"{described.title}, {shape[0]} px, doi:10.5281/zenodo.10519652",
            confounders=(described.confounder,),
        )

    def _usage(self, pixels: int) -> tuple[str, ...]:
        if pixels == self.settings.size:
            return ()
        return (f'in a protocol: [datasets."medmnist:{self.settings.set}"] size = {pixels}',)


def _file_name(name: str, pixels: int) -> str:
    return f"{name}.npz" if pixels == 28 else f"{name}_{pixels}.npz"


@dataclass(frozen=True)
class _Header:
    """Shape and type of an array in an npz file."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def bytes(self) -> int:
        return int(np.prod(self.shape)) * self.dtype.itemsize


@dataclass
class _Seen:
    """What the audit needs of images that pass by."""

    hashes: list[NDArray[np.uint64]] = field(default_factory=list)
    thumbs: list[NDArray[np.uint8]] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)

    def add(self, images: NDArray[np.uint8]) -> None:
        samples = sampled(images)
        self.hashes.append(difference_hashes(samples))
        self.thumbs.append(thumbnails(samples))
        self.digests += [hashlib.sha256(image).digest() for image in images]


def _one_file(sources: Sequence[Path]) -> Path:
    if len(sources) != 1 or not sources[0].is_file():
        named = ", ".join(map(str, sources))
        raise LayoutError(f"{named}: expected one npz file, from {_DOWNLOADS}")
    return sources[0]


@contextmanager
def _npz(source: Path) -> Iterator[zipfile.ZipFile]:
    """Open an npz file; damage met while it is read is named."""
    try:
        with zipfile.ZipFile(source) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise PrepareError(
            f"{source}: no npz file, or damaged ({error}); download it again from {_DOWNLOADS}"
        ) from error


def _image_header(archive: zipfile.ZipFile, source: Path, split: str) -> _Header:
    expected = {f"{name}_{what}.npy" for name in _SPLITS for what in ("images", "labels")}
    missing = sorted(expected - set(archive.namelist()))
    if missing:
        found = ", ".join(archive.namelist()[:8]) or "nothing"
        raise LayoutError(f"{source}: no {', '.join(missing)} (found {found})")
    name = f"{split}_images.npy"
    with archive.open(name) as file:
        header = _read_header(file, source, name, archive.getinfo(name).file_size)
    if header.dtype != np.uint8 or len(header.shape) < 3:
        raise LayoutError(f"{source}: {name} is {header.dtype} {header.shape}, expected uint8")
    return header


def _read_header(file: IO[bytes], source: Path, name: str, size: int) -> _Header:
    """Read an array's header and hold it against the bytes the archive states."""
    try:
        version = np.lib.format.read_magic(file)
        reader = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran, dtype = reader(file)
    except (ValueError, KeyError, EOFError) as error:
        reason = repr(str(error)[:60])
        raise LayoutError(f"{source}: {name} is no array, or damaged ({reason})") from error
    header = _Header(tuple(shape), dtype)
    if dtype.hasobject or dtype.kind not in "iu" or fortran:
        raise RefusedError(f"{source}: {name} holds {dtype}, not whole numbers row by row")
    if file.tell() + header.bytes != size:
        raise RefusedError(
            f"{source}: {name} states {header.bytes:,} bytes of numbers, the archive"
            f" {size - file.tell():,}; do not trust the file"
        )
    return header


def _image_blocks(
    archive: zipfile.ZipFile, name: str, header: _Header
) -> Iterator[NDArray[np.uint8]]:
    """Yield images (n, H, W, C), some megabytes at a time."""
    shape = header.shape[1:] if len(header.shape) == 4 else (*header.shape[1:], 1)
    row = int(np.prod(shape))
    # a multiple of the image file's chunks, so that each is written once
    rows = max(1, _BLOCK_BYTES // row // 64 * 64)
    with archive.open(name) as file:
        file.read(archive.getinfo(name).file_size - header.bytes)
        for first in range(0, header.shape[0], rows):
            count = min(rows, header.shape[0] - first)
            data = file.read(count * row)
            if len(data) < count * row:
                raise EOFError(f"{name} ends early")
            yield np.frombuffer(data, np.uint8).reshape(count, *shape)

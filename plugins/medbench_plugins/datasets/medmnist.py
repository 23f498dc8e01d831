"""MedMNIST, from the publisher's npz files, at 28, 64, 128 and 224 px."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from medbench.data import (
    Columns,
    Copies,
    Download,
    Fingerprints,
    ImageBatch,
    ImagesWriter,
    LayoutError,
    Prepared,
    PreparedDataset,
    PrepareError,
    PrepareOptions,
    Progress,
    audited,
    check_space,
    copies_pages,
    left_as_they_are,
    md5_of,
    write_copies,
)
from medbench.interfaces.dataset import SPLITS, DataContext, DatasetCard
from medbench.interfaces.settings import Settings
from medbench_plugins.datasets import MEDMNIST

_SPLITS = {"train": "train", "val": "validation", "test": "test"}
_BLOCK_BYTES = 16 * 1024**2
_DOWNLOADS = "https://zenodo.org/records/10519652"


class MedMnistSettings(Settings):
    """Which set of MedMNIST, and at which size."""

    set: Literal[tuple(MEDMNIST)] = Field("pathmnist", description="set of MedMNIST")  # type: ignore[valid-type]
    size: Literal[28, 64, 128, 224] = Field(28, description="height and width in pixels")


class MedMnist(PreparedDataset):
    """A 2D single-label set of MedMNIST v2, as published, in its own split.

    Yang et al. 2023, doi:10.1038/s41597-022-01721-8. Prepared from the publisher's npz file,
    whose MD5 must be the published one. Each size has a file of its own, so several sizes
    can be prepared.
    """

    Settings: ClassVar[type[Settings]] = MedMnistSettings

    @property
    def published(self) -> dict[str, Any]:
        """What the publisher states of the set."""
        return MEDMNIST[self.settings.set]

    def target(self, context: DataContext) -> Path:
        """Return where the file of this set and size is, or will be."""
        return context.cache / f"medmnist-{self.settings.set}-{self.settings.size}.h5"

    def command(self) -> str:
        """Return the command that prepares the set at this size."""
        npz = _file_name(self.settings.set, self.settings.size)
        return f"medbench data prepare medmnist:{self.settings.set} {npz}"

    def downloads(self, size: int | None) -> Sequence[Download]:
        """Return the publisher's npz file of the size asked for, or else of the settings'."""
        sums, pixels = self.published["md5"], size or self.settings.size
        if str(pixels) not in sums:
            raise LayoutError(f"{self.name}: published at {', '.join(sums)} px, not at {pixels}")
        npz = _file_name(self.settings.set, pixels)
        return [Download(f"{_DOWNLOADS}/files/{npz}?download=1", npz, sums[str(pixels)])]

    def prepare(
        self,
        sources: Sequence[Path],
        context: DataContext,
        options: PrepareOptions,
        progress: Progress,
    ) -> Prepared:
        """Convert one npz file; its MD5 says which size in pixels it holds."""
        if len(sources) != 1 or not sources[0].is_file():
            named = ", ".join(map(str, sources))
            raise LayoutError(f"{named}: expected one npz file, from {_DOWNLOADS}")
        source = sources[0]
        pixels = self._pixels(source)
        if options.size not in (None, pixels):
            raise LayoutError(
                f"{source}: holds images of {pixels} px, --size asks for {options.size}; give the"
                " file of that size, or omit --size and set images.size in the protocol"
            )
        if options.duplicates not in (None, "keep"):
            raise LayoutError(f"{self.name}: its split is published; leave --duplicates out")
        settings = self.settings.model_copy(update={"size": pixels})
        path = type(self)(self.name, settings).target(context)
        card = self._card(pixels)
        check_space(path, sum(self.published["counts"]) * math.prod(card.image_shape))
        with zipfile.ZipFile(source) as archive:
            columns = _columns(archive)
            count, done, seen = len(columns.ids), 0, []
            progress(done, count)
            with ImagesWriter(path, card.image_shape, count, gzip_level=1) as writer:
                for images in _images(archive):
                    writer.append(ImageBatch(images))
                    seen.append(Fingerprints.of(images))
                    done += len(images)
                    progress(done, count)
                fingerprints = Fingerprints.concatenate(seen)
                card = audited(card, columns, fingerprints, writer.image)
                found = left_as_they_are(columns, Copies.among(fingerprints, writer.image))
                pages = copies_pages(found, card.class_names, path.stem, writer.image)
                card = writer.finish(card, columns)
        write_copies(path, pages)
        if pixels == self.settings.size:
            return Prepared(path, card)
        usage = f'in a protocol: [datasets."medmnist:{self.settings.set}"] size = {pixels}'
        return Prepared(path, card, (usage,))

    def _pixels(self, source: Path) -> int:
        """Return the size in pixels that is published with the file's MD5."""
        found, sums = md5_of(source), self.published["md5"]
        for pixels, md5 in sums.items():
            if md5 == found:
                return int(pixels)
        expected = ", ".join(f"{md5} ({pixels} px)" for pixels, md5 in sums.items())
        raise PrepareError(
            f"{source}: MD5 {found}, published for {self.settings.set} are {expected};"
            f" download it again from {_DOWNLOADS}"
        )

    def _card(self, pixels: int) -> DatasetCard:
        published = self.published
        return DatasetCard(
            name=f"medmnist:{self.settings.set}",
            title=f"{published['title']} at {pixels} px",
            modality=published["modality"],
            class_names=tuple(published["class_names"]),
            image_shape=(pixels, pixels, published["channels"]),
            split_sizes={},
            licence=published["licence"],
            citation=(
                "Yang J, Shi R, Wei D, et al. MedMNIST v2 - A large-scale lightweight benchmark"
                " for 2D and 3D biomedical image classification. Scientific Data 10:41 (2023),"
                " doi:10.1038/s41597-022-01721-8"
            ),
            source=f"{published['title']}, {pixels} px, doi:10.5281/zenodo.10519652",
            confounders=(published["confounder"],),
        )


def _file_name(name: str, pixels: int) -> str:
    return f"{name}.npz" if pixels == 28 else f"{name}_{pixels}.npz"


def _blocks(archive: zipfile.ZipFile, name: str) -> Iterator[NDArray[Any]]:
    """Yield an array's rows, some megabytes at a time: the largest do not fit in memory."""
    with archive.open(f"{name}.npy") as file:
        np.lib.format.read_magic(file)
        (count, *shape), _, dtype = np.lib.format.read_array_header_1_0(file)
        row_bytes = int(np.prod(shape)) * dtype.itemsize
        # a multiple of the dataset file's chunks, so that each is written once
        rows = max(1, _BLOCK_BYTES // row_bytes // 64 * 64)
        for first in range(0, count, rows):
            data = file.read(min(rows, count - first) * row_bytes)
            yield np.frombuffer(data, dtype).reshape(-1, *shape)


def _columns(archive: zipfile.ZipFile) -> Columns:
    """Return labels, split codes and ids, from the labels of each split."""
    labels: list[int] = []
    split: list[int] = []
    ids: list[str] = []
    for word, name in _SPLITS.items():
        for block in _blocks(archive, f"{word}_labels"):
            labels += block.reshape(-1).tolist()
        ids += [f"{name}-{number + 1:06d}" for number in range(len(labels) - len(ids))]
        split += [SPLITS[name]] * (len(labels) - len(split))
    return Columns(labels, split, ids)


def _images(archive: zipfile.ZipFile) -> Iterator[NDArray[np.uint8]]:
    for word in _SPLITS:
        for images in _blocks(archive, f"{word}_images"):
            yield images if images.ndim == 4 else images[..., None]

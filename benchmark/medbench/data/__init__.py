"""Datasets on disk: what a dataset plugin imports. Loads no torch.

:class:`Hdf5Dataset` reads a dataset file, :class:`PreparedDataset` one that the user prepares,
and :class:`FilesDataset` prepares it from image files.
"""

from medbench.data.audit import audited
from medbench.data.datasets import FilesDataset, Hdf5Dataset, PreparedDataset
from medbench.data.duplicates import (
    Copies,
    copies_pages,
    joined,
    left_as_they_are,
    write_copies,
)
from medbench.data.hashing import Fingerprints
from medbench.data.hdf5_format import DatasetFileError
from medbench.data.hdf5_reading import open_images, read_card, verify_images
from medbench.data.hdf5_writing import Columns, ImageBatch, ImagesWriter, write_images
from medbench.data.samples import (
    Box,
    DatasetIndex,
    Prepared,
    PrepareOptions,
    Progress,
    Sample,
    stratified_split,
)
from medbench.data.sources import (
    IMAGE_SUFFIXES,
    Download,
    LayoutError,
    PrepareError,
    RefusedError,
    SourceFile,
    UnreadableError,
    check_space,
    list_sources,
    md5_of,
    read_bytes,
    summarize_files,
)

__all__ = [
    "IMAGE_SUFFIXES",
    "Box",
    "Columns",
    "Copies",
    "DatasetFileError",
    "DatasetIndex",
    "Download",
    "FilesDataset",
    "Fingerprints",
    "Hdf5Dataset",
    "ImageBatch",
    "ImagesWriter",
    "LayoutError",
    "PrepareError",
    "PrepareOptions",
    "Prepared",
    "PreparedDataset",
    "Progress",
    "RefusedError",
    "Sample",
    "SourceFile",
    "UnreadableError",
    "audited",
    "check_space",
    "copies_pages",
    "joined",
    "left_as_they_are",
    "list_sources",
    "md5_of",
    "open_images",
    "read_bytes",
    "read_card",
    "stratified_split",
    "summarize_files",
    "verify_images",
    "write_copies",
    "write_images",
]

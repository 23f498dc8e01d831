"""From a DICOM file to an image of 8 bits, as a viewer shows it.

Values are rescaled (modality), then windowed, then inverted where the photometric
interpretation is MONOCHROME1 (DICOM PS3.3, C.7.6.3.1.2, C.11.1 and C.11.2). The window is the
user's, else the first of the file, else the whole range of the stored bits. pydicom reads the
file.
"""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medbench.data.sources import PrepareError, UnreadableError
from medbench.installing import install_extra

if TYPE_CHECKING:
    from pydicom import Dataset

#: Endings of the names of DICOM files.
SUFFIXES = (".dcm", ".dicom")

#: A window: the values that become 0 and 255.
Window = tuple[float, float]

# What pydicom raises on damaged bytes and on codecs that are missing.
_DAMAGE = (
    *(OSError, EOFError, ValueError, TypeError, LookupError, AttributeError, RuntimeError),
    *(OverflowError, struct.error),
)

_DEFLATED = b"1.2.840.10008.1.2.1.99"


def is_dicom(data: bytes, where: str) -> bool:
    """Return whether a file says that it is DICOM.

    Raises
    ------
    UnreadableError
        If only its name says so.
    """
    marked = data[128:132] == b"DICM"
    if not marked and where.lower().endswith(SUFFIXES):
        raise UnreadableError("no DICOM file: the mark DICM after 128 bytes is missing")
    return marked


def read_header(data: bytes, where: str) -> Dataset:
    """Read a file and check that it has the pixels of one image; they are not decoded.

    Raises
    ------
    UnreadableError
        If it is damaged, has no pixels, or more than one frame.
    PrepareError
        If pydicom is not installed.
    """
    try:
        import pydicom
    except ImportError as error:
        raise PrepareError(
            f"{where}: reading DICOM needs pydicom; run: {install_extra('dicom')}"
        ) from error
    if _DEFLATED in data[:1024]:
        raise UnreadableError("a deflated DICOM file; save it without compression")
    try:
        dataset = pydicom.dcmread(io.BytesIO(data))
        if not any(name in dataset for name in ("PixelData", "FloatPixelData")):
            kind = getattr(dataset.get("SOPClassUID"), "name", "") or "no image"
            raise UnreadableError(f"a DICOM file without pixels ({kind}); leave it out")
        frames = int(dataset.get("NumberOfFrames") or 1)
        if frames > 1:
            raise UnreadableError(f"a DICOM file of {frames} frames; give each its own file")
        if not (dataset.get("Rows") and dataset.get("Columns")):
            raise UnreadableError("a DICOM file without rows and columns")
    except UnreadableError:
        raise
    except _DAMAGE as error:
        raise UnreadableError(f"damaged DICOM: {error}") from error
    return dataset


def is_grey(dataset: Dataset) -> bool:
    """Return whether the image has one channel that is no index of colours."""
    kind = dataset.get("PhotometricInterpretation", "")
    return int(dataset.get("SamplesPerPixel", 1)) == 1 and kind != "PALETTE COLOR"


def decode_dicom(dataset: Dataset, window: Window | None = None) -> Image.Image:
    """Return the image, 8 bits in grey or RGB.

    Parameters
    ----------
    dataset : pydicom.Dataset
        As :func:`read_header` returns it.
    window : tuple of float, optional
        The rescaled values (such as Hounsfield units) that become 0 and 255, in place of the
        file's window.

    Raises
    ------
    UnreadableError
        If the pixels are damaged, packed by a codec that is not installed, or state no range.
    """
    try:
        pixels = _grey(dataset, window) if is_grey(dataset) else _colour(dataset)
    except UnreadableError:
        raise
    except _DAMAGE as error:
        raise UnreadableError(f"DICOM pixels: {' '.join(str(error).split())}") from error
    return Image.fromarray(pixels)


def scaled(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """Map ``low`` to 0 and ``high`` to 255, rounded half up; what is beyond is clipped."""
    shares = (values.astype(np.float32) - np.float32(low)) / np.float32(high - low)
    grey: NDArray[np.uint8] = (np.clip(shares, 0, 1) * 255 + np.float32(0.5)).astype(np.uint8)
    return grey


def _grey(dataset: Dataset, window: Window | None) -> NDArray[np.uint8]:
    from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut
    from pydicom.pixels.utils import pixel_array

    values = apply_modality_lut(pixel_array(dataset), dataset)
    if window is not None:
        grey = scaled(values, *window)
    elif "VOILUTSequence" in dataset:
        bits = int(dataset.VOILUTSequence[0].LUTDescriptor[2])
        grey = scaled(apply_voi_lut(values, dataset), 0, 2**bits - 1)
    elif dataset.get("WindowCenter") is not None and dataset.get("WindowWidth") is not None:
        grey = _windowed(values.astype(np.float64), dataset)
    else:
        grey = scaled(values, *_whole_range(dataset))
    return 255 - grey if dataset.PhotometricInterpretation == "MONOCHROME1" else grey


def _windowed(x: NDArray[np.float64], dataset: Dataset) -> NDArray[np.uint8]:
    """Apply the file's first window, PS3.3 C.11.2.1.2 and C.11.2.1.3."""
    centre, width = (_first(dataset[name].value) for name in ("WindowCenter", "WindowWidth"))
    function = str(dataset.get("VOILUTFunction") or "LINEAR")
    least = 1 if function == "LINEAR" else 0
    if width < least or (width == 0):
        raise UnreadableError(f"states a window of width {width:g}; say --window LOW HIGH")
    if function == "SIGMOID":
        # 1 / (1 + exp(-4 (x - centre) / width)), which overflows far from the centre
        return scaled((1 + np.tanh(2 * (x - centre) / width)) / 2, 0, 1)
    if function == "LINEAR_EXACT":
        return scaled(x, centre - width / 2, centre + width / 2)
    if width == 1:
        return np.where(x <= centre - 0.5, 0, 255).astype(np.uint8)
    return scaled((x - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)


def _whole_range(dataset: Dataset) -> Window:
    """Return the least and the largest value that the stored bits can have, rescaled."""
    if "ModalityLUTSequence" in dataset:
        return 0, 2 ** int(dataset.ModalityLUTSequence[0].LUTDescriptor[2]) - 1
    if "FloatPixelData" in dataset:
        raise UnreadableError("holds fractions and no window; say --window LOW HIGH")
    bits, signed = int(dataset.BitsStored), int(dataset.PixelRepresentation)
    ends = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    slope, intercept = (
        float(dataset.get(name, default))
        for name, default in (("RescaleSlope", 1), ("RescaleIntercept", 0))
    )
    low, high = sorted(slope * end + intercept for end in ends)
    return low, high


def _colour(dataset: Dataset) -> NDArray[np.uint8]:
    from pydicom.pixels.processing import apply_color_lut
    from pydicom.pixels.utils import pixel_array

    values = pixel_array(dataset)  # YCbCr becomes RGB
    if int(dataset.get("SamplesPerPixel", 1)) == 1:
        values = apply_color_lut(values, dataset)[..., :3]
        bits = int(dataset.RedPaletteColorLookupTableDescriptor[2])
    else:
        bits = int(dataset.BitsStored)
    return scaled(values, 0, 2**bits - 1)


def _first(value: Any) -> float:
    """Return the first of several values, or the only one."""
    return float(value[0] if hasattr(value, "__len__") and not isinstance(value, str) else value)

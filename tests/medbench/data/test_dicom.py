"""DICOM files become the 8 bits that a viewer shows: values by hand, and by pydicom itself."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_windowing
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEGLosslessSV1,
    RLELossless,
)
from test_prepare import indexed

from medbench.data import (
    LayoutError,
    PrepareError,
    PrepareOptions,
    RefusedError,
    UnreadableError,
    open_images,
)
from medbench.data.decoding import PixelFormat, brightest_value, decode_image, read_shape
from medbench.data.prepare import prepare_images
from medbench.interfaces import DataContext


def dicom(
    pixels: np.ndarray | None, syntax: Any = ExplicitVRLittleEndian, *, lossless: bool = False,
    **tags: Any,
) -> bytes:  # fmt: skip
    """A CT slice in 16 bits, or what ``tags`` say; pixels (H, W) or (H, W, 3)."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    if pixels is not None:
        bits = 8 * pixels.dtype.itemsize
        dataset.Rows, dataset.Columns = pixels.shape[:2]
        dataset.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
        dataset.PhotometricInterpretation = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
        if pixels.ndim == 3:
            dataset.PlanarConfiguration = 0
        dataset.BitsAllocated = dataset.BitsStored = bits
        dataset.HighBit = bits - 1
        dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
        order = ">" if syntax == ExplicitVRBigEndian else "<"
        dataset.PixelData = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
        dataset["PixelData"].VR = "OB" if bits == 8 else "OW"
    for name, value in tags.items():
        setattr(dataset, name, value)
    if syntax == RLELossless:
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.compress(RLELossless)
    file = io.BytesIO()
    if lossless:  # pixels that only say that they are packed so
        dataset.file_meta.TransferSyntaxUID = JPEGLosslessSV1
        dataset.PixelData = encapsulate([dataset.PixelData])
    little = syntax != ExplicitVRBigEndian
    pydicom.dcmwrite(file, dataset, enforce_file_format=True, implicit_vr=False,
                     little_endian=little)  # fmt: skip
    return file.getvalue()


def decoded(content: bytes, channels: int = 1, window: tuple[float, float] | None = None) -> Any:
    height, width, _ = read_shape(content, "a.dcm")
    to = PixelFormat(height, width, channels, False, True, window)
    pixels = np.frombuffer(decode_image(content, "a.dcm", to), np.uint8)
    return pixels.reshape(height, width, channels).squeeze(-1 if channels == 1 else ())


def row(*values: int, dtype: Any = np.uint16) -> np.ndarray:
    return np.array([values], dtype)


HOUNSFIELD = {"RescaleSlope": 1, "RescaleIntercept": -1024}


def test_a_window_is_applied_to_rescaled_values() -> None:
    # Hounsfield units -1024, 0, 40, 60, 79, 80; 255 ((x - 39.5) / 79 + 0.5)
    stored = row(0, 1024, 1064, 1084, 1103, 1104)
    content = dicom(stored, **HOUNSFIELD, WindowCenter=40, WindowWidth=80)
    assert decoded(content).tolist() == [[0, 0, 129, 194, 255, 255]]


def test_the_first_of_several_windows_counts() -> None:
    stored = row(0, 1024, 1064, 1084, 1103, 1104)
    content = dicom(stored, **HOUNSFIELD, WindowCenter=[40, 300], WindowWidth=[80, 2000])
    assert decoded(content).tolist() == [[0, 0, 129, 194, 255, 255]]


@pytest.mark.parametrize(
    ("function", "expected"),
    [("LINEAR_EXACT", [0, 0, 64, 128, 255, 255]), ("SIGMOID", [5, 30, 69, 128, 225, 250])],
)
def test_other_window_functions(function: str, expected: list[int]) -> None:
    # exact: 255 x / 80; sigmoid: 255 / (1 + exp(-4 (x - 40) / 80))
    stored = row(-40, 0, 20, 40, 80, 120, dtype=np.int16)
    content = dicom(stored, WindowCenter=40, WindowWidth=80, VOILUTFunction=function)
    assert decoded(content).tolist() == [expected]


@pytest.mark.filterwarnings("ignore:overflow")  # of pydicom
@given(
    values=st.lists(st.integers(-2048, 2047), min_size=1, max_size=20),
    centre=st.integers(-1000, 1000),
    width=st.integers(2, 3000),
    slope=st.sampled_from([1, 2, 0.5]),
    intercept=st.sampled_from([0, -1024, 100]),
    function=st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
    inverted=st.booleans(),
)
@settings(deadline=None, max_examples=150)
def test_windows_are_those_of_pydicom(
    values: list[int], centre: int, width: int, slope: float, intercept: float, function: str,
    inverted: bool,
) -> None:  # fmt: skip
    content = dicom(
        row(*values, dtype=np.int16), WindowCenter=centre, WindowWidth=width, BitsStored=12,
        HighBit=11, RescaleSlope=slope, RescaleIntercept=intercept, VOILUTFunction=function,
        PhotometricInterpretation="MONOCHROME1" if inverted else "MONOCHROME2",
    )  # fmt: skip
    dataset = pydicom.dcmread(io.BytesIO(content))
    rescaled = np.array([values], float) * slope + intercept
    shown = apply_windowing(rescaled, dataset)
    low, high = -2048 * slope + intercept, 2047 * slope + intercept  # its range of output
    expected = 255 * (shown - low) / (high - low)
    expected = 255 - expected if inverted else expected
    assert np.abs(decoded(content) - expected).max() < 0.51


def test_monochrome1_is_inverted() -> None:
    stored = row(0, 1024, 1064, 1084, 1103, 1104)
    content = dicom(stored, **HOUNSFIELD, WindowCenter=40, WindowWidth=80,
                    PhotometricInterpretation="MONOCHROME1")  # fmt: skip
    assert decoded(content).tolist() == [[255, 255, 126, 61, 0, 0]]


def test_without_a_window_the_stored_bits_give_the_range() -> None:
    twelve = {"BitsStored": 12, "HighBit": 11}
    assert decoded(dicom(row(0, 2048, 4095), **twelve)).tolist() == [[0, 128, 255]]
    assert decoded(dicom(row(0, 2048, 65535))).tolist() == [[0, 8, 255]]
    signed = row(-2048, 0, 2047, dtype=np.int16)
    assert decoded(dicom(signed, **twelve, **HOUNSFIELD)).tolist() == [[0, 128, 255]]
    assert decoded(dicom(row(0, 127, 255, dtype=np.uint8))).tolist() == [[0, 127, 255]]


def test_the_users_window_comes_before_that_of_the_file() -> None:
    content = dicom(row(864, 1064, 1264), **HOUNSFIELD, WindowCenter=40, WindowWidth=80)
    assert decoded(content, window=(-160, 240)).tolist() == [[0, 128, 255]]
    bare = dicom(row(864, 1064, 1264), **HOUNSFIELD)
    assert decoded(bare, window=(-160, 240)).tolist() == [[0, 128, 255]]


def test_a_table_of_values_is_applied() -> None:
    table = Dataset()
    table.LUTDescriptor = [4, 10, 8]  # entries, first value, bits
    table["LUTDescriptor"].VR = "US"
    table.LUTData = [0, 100, 200, 255]
    table["LUTData"].VR = "US"
    content = dicom(row(0, 10, 11, 12, 13, 99), VOILUTSequence=[table])
    assert decoded(content).tolist() == [[0, 0, 100, 200, 255, 255]]


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless])
def test_bytes_are_in_the_order_and_packing_of_the_file(syntax: Any) -> None:
    stored = np.arange(0, 60_000, 1000, np.uint16).reshape(6, 10)
    expected = np.floor(stored / 65535 * 255 + 0.5)
    np.testing.assert_array_equal(decoded(dicom(stored, syntax)), expected)


def test_colour_is_kept() -> None:
    rgb = np.array([[[255, 0, 0], [0, 255, 0], [10, 20, 30]]], np.uint8)
    content = dicom(rgb)
    assert read_shape(content, "a.dcm") == (1, 3, 3)
    np.testing.assert_array_equal(decoded(content, channels=3), rgb)
    # PS3.3 C.7.6.3.1.2: pure red is 76, 85, 255 and grey is Y, 128, 128
    ybr = np.array([[[76, 85, 255], [100, 128, 128]]], np.uint8)
    found = decoded(dicom(ybr, PhotometricInterpretation="YBR_FULL"), channels=3)
    assert np.abs(found.astype(int) - [[[254, 0, 0], [100, 100, 100]]]).max() <= 1


def test_a_palette_gives_colours() -> None:
    names = ("Red", "Green", "Blue")
    palette: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name, values in zip(names, ([0, 65535, 0], [0, 0, 65535], [0, 0, 32768]), strict=True):
        palette[f"{name}PaletteColorLookupTableDescriptor"] = [3, 0, 16]
        palette[f"{name}PaletteColorLookupTableData"] = np.array(values, "<u2").tobytes()
    content = dicom(row(0, 1, 2, dtype=np.uint8), **palette)
    assert read_shape(content, "a.dcm") == (1, 3, 3)
    assert decoded(content, channels=3).tolist() == [[[0, 0, 0], [255, 0, 0], [0, 255, 128]]]


def test_the_range_of_dicom_is_its_own() -> None:
    assert brightest_value(dicom(row(0, 4000)), "a.dcm") == 0


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (dicom(None), r"without pixels \(CT Image Storage\); leave it out"),
        (dicom(row(1, 2), NumberOfFrames=3), r"3 frames; give each its own file"),
        (dicom(row(1, 2), WindowCenter=1, WindowWidth=0), r"width 0; say --window LOW HIGH"),
        (dicom(row(*range(40)))[:-30], "DICOM"),
        (dicom(row(1, 2))[:140], "DICOM"),
        (dicom(row(1, 2), DeflatedExplicitVRLittleEndian), "deflated"),
        (bytes(128) + b"DICM" + bytes(50), "DICOM"),
        (dicom(row(1, 2))[132:], "no DICOM file: the mark DICM"),
        (dicom(row(1, 2), lossless=True), "pylibjpeg"),
    ],
)
def test_what_cannot_be_shown_is_unreadable_for_one_reason(content: bytes, reason: str) -> None:
    to = PixelFormat(1, 2, 1, True, True)
    with pytest.raises(UnreadableError, match=reason) as caught:
        decode_image(content, "a.dcm", to)
    assert "\n" not in str(caught.value)


def test_a_folder_of_dicom_files_becomes_a_dataset(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(16):
        stored = np.full((20, 20), 1064 + number, np.uint16)
        stored[number % 20] = 0
        content = dicom(stored, **HOUNSFIELD, WindowCenter=40, WindowWidth=80)
        (folder / f"{number:02d}.dcm").write_bytes(content)
    out = tmp_path / "toy.h5"
    card = prepare_images(out, indexed(folder), DataContext(tmp_path, 2), PrepareOptions(size=10))
    assert card.image_shape == (10, 10, 1)
    assert "window" not in card.audit  # each file states its own
    with open_images(out) as data:
        # 129, and 3 more for each Hounsfield unit
        expected = [int(255 * (number + 0.5) / 79 + 128) for number in range(16)]
        assert [int(image.max()) for image in data.images] == expected


def test_absurd_sizes_are_refused_before_decoding() -> None:
    content = dicom(row(1, 2), Rows=30_000, Columns=30_000)
    with pytest.raises(RefusedError, match=r"a\.dcm: 30000 x 30000 px"):
        decode_image(content, "a.dcm", PixelFormat(8, 8, 1, True, True))


def test_another_size_than_the_others_needs_a_size() -> None:
    with pytest.raises(LayoutError, match="--size"):
        decode_image(dicom(row(1, 2)), "a.dcm", PixelFormat(8, 8, 1, False, True))


def test_without_pydicom_the_message_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(PrepareError, match=r"a\.dcm: .* pip install 'pydicom>=3\.0'$"):
        read_shape(dicom_bytes, "a.dcm")


dicom_bytes = dicom(row(1, 2))

"""Preparing images: the same bytes from everywhere, hostile input refused, nothing left behind."""

from __future__ import annotations

import io
import json
import os
import signal
import stat
import struct
import subprocess
import sys
import tracemalloc
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medbench.data import (
    DatasetIndex,
    LayoutError,
    PrepareError,
    PrepareOptions,
    RefusedError,
    Sample,
    SourceFile,
    UnreadableError,
    decoding,
    list_sources,
    open_images,
    prepare,
    read_bytes,
    read_card,
    sources,
    stratified_split,
    verify_images,
)
from medbench.data.prepare import most_workers, prepare_images
from medbench.interfaces import SPLITS, DataContext, DatasetCard

SIDE = 20
SPLIT_OF = ("train", "train", "validation", "test")


def png(seed: int, side: int = SIDE, mode: str = "L") -> bytes:
    """A smooth random picture: unlike noise, unlike the others."""
    rng = np.random.default_rng(seed)
    channels = 3 if mode == "RGB" else 1
    small = rng.integers(0, 256, (5, 5, channels), np.uint8)
    image = Image.fromarray(small if channels == 3 else small[..., 0])
    out = io.BytesIO()
    image.resize((side, side), Image.Resampling.BICUBIC).save(out, "PNG")
    return out.getvalue()


def tree(root: Path, count: int = 40, **changes: bytes) -> Path:
    """Write images 000.png, 001.png, ...; ``changes`` replaces some, as ``n3=b"..."``."""
    root.mkdir(parents=True)
    for number in range(count):
        (root / f"{number:03d}.png").write_bytes(changes.get(f"n{number}", png(number)))
    return root


def indexed(*sources: Path, **card: object) -> DatasetIndex:
    """Label images in turn: a, b, a, b; splits in fours."""
    samples = [
        Sample(file, place % 2, SPLIT_OF[place // 2 % 4], file.name)
        for place, file in enumerate(list_sources(sources))
    ]
    values: dict[str, object] = {
        "name": "toy",
        "title": "Toy",
        "modality": "none",
        "class_names": ("a", "b"),
        "image_shape": (0, 0, 0),
        "split_sizes": {},
        "licence": "CC0",
        "citation": "nobody",
        "source": "a generator",
    }
    return DatasetIndex(DatasetCard(**{**values, **card}), samples)  # type: ignore[arg-type]


def run(source: Path | DatasetIndex, out: Path, workers: int = 1, **options: object) -> DatasetCard:
    index = indexed(source) if isinstance(source, Path) else source
    context = DataContext(out.parent, workers)
    return prepare_images(out, index, context, PrepareOptions(**options))  # type: ignore[arg-type]


def zipped(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    return path


# --- the same bytes ------------------------------------------------------------------------------


def test_folder_archive_and_workers_give_equal_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "_MOST_IN_BATCH", 7)
    folder = tree(tmp_path / "images")
    run(folder, tmp_path / "a" / "toy.h5", workers=2)
    run(zipped(folder, tmp_path / "images.zip"), tmp_path / "b" / "toy.h5", workers=1)
    assert (tmp_path / "a/toy.h5").read_bytes() == (tmp_path / "b/toy.h5").read_bytes()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["toy.h5"]
    card = verify_images(tmp_path / "a/toy.h5")
    assert card.image_shape == (SIDE, SIDE, 1)
    with open_images(tmp_path / "a/toy.h5") as data:
        for place in (0, 13, 39):
            expected = np.asarray(Image.open(folder / f"{place:03d}.png"))
            np.testing.assert_array_equal(data.images[place][..., 0], expected)
            assert data.ids[place] == f"{place:03d}.png"
            assert data.labels[place] == place % 2
            assert data.split[place] == SPLITS[SPLIT_OF[place // 2 % 4]]


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import test_prepare as t
from medbench.data import prepare
prepare._MOST_IN_BATCH = 6

def kill(done, total):
    if done >= 18:
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    out = Path({out!r})
    context = t.DataContext(out.parent, {workers})
    prepare.prepare_images(out, t.indexed(Path({folder!r})), context, t.PrepareOptions(), kill)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_preparation_leaves_no_file_and_the_next_gives_the_same_bytes(
    tmp_path: Path, workers: int
) -> None:
    folder, out = tree(tmp_path / "images"), tmp_path / "cache" / "toy.h5"
    script = tmp_path / "killed.py"
    tests = str(Path(__file__).parent)
    names = {"tests": tests, "out": str(out), "folder": str(folder), "workers": workers}
    script.write_text(KILLED.format(**names))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not out.exists()
    assert (tmp_path / "cache/.toy.part").exists()
    run(folder, out)
    run(folder, tmp_path / "fresh" / "toy.h5")
    assert out.read_bytes() == (tmp_path / "fresh/toy.h5").read_bytes()
    assert [path.name for path in out.parent.iterdir()] == ["toy.h5"]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_refused_image_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr(prepare, "_MOST_IN_BATCH", 4)
    folder = tree(tmp_path / "images", n9=huge_png(10_000, 9_000))
    with pytest.raises(RefusedError, match=r"009\.png"):
        run(folder, tmp_path / "cache/toy.h5", workers, size=16, channels="grey")
    assert list((tmp_path / "cache").iterdir()) == []


def test_progress_counts_images_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "_MOST_IN_BATCH", 15)
    seen: list[tuple[int, int]] = []
    index, context = indexed(tree(tmp_path / "images")), DataContext(tmp_path, 2)
    prepare_images(
        tmp_path / "toy.h5", index, context, PrepareOptions(), lambda *counts: seen.append(counts)
    )
    assert seen == [(0, 40), (15, 40), (30, 40), (40, 40)]


def test_large_images_are_decoded_one_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "LARGE_PIXELS", SIDE * SIDE - 1)
    folder, out = tree(tmp_path / "images"), tmp_path / "toy.h5"
    held: list[bool] = []

    def convert(image: Image.Image, *given: object) -> Image.Image:
        with (
            pytest.raises(PrepareError),
            sources.locked(out.parent / ".toy.part/lock-large", "held"),
        ):
            pass
        held.append(True)
        return image

    monkeypatch.setattr(decoding, "_convert", convert)
    run(folder, out)
    assert len(held) == 40


def test_two_preparations_of_one_name_do_not_meet(tmp_path: Path) -> None:
    out = tmp_path / "toy.h5"
    with prepare.work_folder(out), pytest.raises(PrepareError, match="another process"):
        run(tree(tmp_path / "images"), out)


# --- size and colour -----------------------------------------------------------------------------


def test_the_largest_square_is_cut_and_scaled(tmp_path: Path) -> None:
    wide = Image.new("L", (80, 40), 0)
    wide.paste(200, (20, 0, 60, 40))
    out = io.BytesIO()
    wide.save(out, "PNG")
    folder = tree(tmp_path / "images", n0=out.getvalue())
    card = run(folder, tmp_path / "toy.h5", size=16)
    assert card.image_shape == (16, 16, 1)
    with open_images(tmp_path / "toy.h5") as data:
        assert (data.images[0] == 200).all()


def test_images_of_several_sizes_need_a_size(tmp_path: Path) -> None:
    folder = tree(tmp_path / "images", n9=png(9, side=33))
    with pytest.raises(LayoutError, match=r"009\.png: 33 x 33 px.*20 x 20 px.*--size 20"):
        run(folder, tmp_path / "toy.h5")


def test_colour_is_kept_and_never_dropped_silently(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tree(tmp_path / "images", n9=png(9, mode="RGB"))
    assert run(folder, tmp_path / "toy.h5").image_shape[2] == 3
    assert run(folder, tmp_path / "toy.h5", channels="grey").image_shape[2] == 1
    monkeypatch.setattr(prepare, "_PROBES", 4)  # images 0, 10, 20, 30
    with pytest.raises(LayoutError, match=r"009\.png: in colour.*--channels"):
        run(folder, tmp_path / "toy.h5")


def test_masks_are_brought_to_0_and_1() -> None:
    to = decoding.PixelFormat(4, 4, 1, True, True)
    image = png(0, side=8)
    for white in (1, 255):
        mask = np.zeros((8, 8), np.uint8)
        mask[:, 4:] = white
        out = io.BytesIO()
        Image.fromarray(mask).save(out, "PNG")
        decoded = decoding.decode_mask(out.getvalue(), "mask", image, to)
        assert np.frombuffer(decoded, np.uint8).reshape(4, 4).tolist() == [[0, 0, 1, 1]] * 4
    with pytest.raises(UnreadableError, match="8 x 8 px, the image 9 x 9 px"):
        decoding.decode_mask(out.getvalue(), "mask", png(0, side=9), to)


# --- unreadable images ---------------------------------------------------------------------------


def damaged(kind: str) -> bytes:
    whole = png(3)
    if kind == "flipped":
        middle = len(whole) // 2
        return whole[:middle] + bytes([whole[middle] ^ 0xFF]) + whole[middle + 1 :]
    return {"empty": b"", "text": b"hello", "half": whole[: len(whole) // 2]}[kind]


@pytest.mark.parametrize("kind", ["empty", "text", "half", "flipped"])
def test_an_unreadable_image_is_left_out_and_named(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "_MOST_IN_BATCH", 50)
    folder = tree(tmp_path / "images", 120, n60=damaged(kind))
    card = run(folder, tmp_path / "toy.h5")
    assert sum(card.split_sizes.values()) == 119
    (file,) = card.audit["unreadable"]["files"]
    assert file["id"] == "060.png"
    assert file["reason"]
    with open_images(tmp_path / "toy.h5") as data:
        assert "060.png" not in data.ids
        expected = np.asarray(Image.open(folder / "119.png"))
        np.testing.assert_array_equal(data.images[118][..., 0], expected)
    assert verify_images(tmp_path / "toy.h5") == card


def test_too_many_unreadable_images_are_refused(tmp_path: Path) -> None:
    folder = tree(tmp_path / "images", n4=b"", n5=b"x")
    with pytest.raises(PrepareError, match=r"2 of 40.*more than 1%.*004\.png.*--allow-unreadable"):
        run(folder, tmp_path / "toy.h5")
    assert not (tmp_path / "toy.h5").exists()
    card = run(folder, tmp_path / "toy.h5", allow_unreadable=True)
    assert card.audit["unreadable"]["count"] == 2
    assert any("cannot be read: 2" in fault for fault in card.confounders)


# --- hostile input -------------------------------------------------------------------------------


def huge_png(width: int, height: int) -> bytes:
    """A small file that says it is a huge image."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(200_000, 200_000), (10_000, 9_000), (30_000, 3)])
def test_absurd_dimensions_are_refused_by_name(tmp_path: Path, size: tuple[int, int]) -> None:
    folder = tree(tmp_path / "images", n8=huge_png(*size))
    with pytest.raises(RefusedError, match=r"008\.png"):
        run(folder, tmp_path / "toy.h5", size=16)


def archive(path: Path, name: str, data: bytes = b"x", **attributes: int) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        entry = zipfile.ZipInfo("placeholder")
        entry.filename = name
        entry.compress_type = zipfile.ZIP_DEFLATED
        for key, value in attributes.items():
            setattr(entry, key, value)
        file.writestr(entry, data)
    return path


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../evil.png", "leaves the archive"),
        ("a/../../evil.png", "leaves the archive"),
        ("..\\evil.png", "leaves the archive"),
        ("/etc/evil.png", "absolute"),
        ("C:\\evil.png", "absolute"),
        ("\\evil.png", "absolute"),
    ],
)
def test_names_that_leave_the_archive_are_refused(tmp_path: Path, name: str, reason: str) -> None:
    path = archive(tmp_path / "a.zip", name)
    with pytest.raises(RefusedError, match=reason) as caught:
        list_sources([path])
    assert "evil.png" in str(caught.value)


def test_links_are_refused(tmp_path: Path) -> None:
    link = archive(tmp_path / "a.zip", "link.png", b"/etc/passwd", external_attr=stat.S_IFLNK << 16)
    with pytest.raises(RefusedError, match=r"link\.png.*symbolic link"):
        list_sources([link])
    folder = tree(tmp_path / "images", 2)
    (folder / "link.png").symlink_to("/etc/passwd")
    with pytest.raises(RefusedError, match=r"link\.png.*symbolic link"):
        list_sources([folder])
    (folder / "link.png").unlink()
    os.mkfifo(folder / "pipe.png")
    with pytest.raises(RefusedError, match=r"pipe\.png.*neither"):
        list_sources([folder])


def test_a_file_swapped_for_a_link_is_not_followed(tmp_path: Path) -> None:
    folder = tree(tmp_path / "images", 1)
    (file,) = list_sources([folder])
    (folder / "000.png").unlink()
    (folder / "000.png").symlink_to("/etc/passwd")
    with pytest.raises(UnreadableError):
        read_bytes(file)


def test_a_bomb_is_refused_by_what_it_states_and_by_what_it_holds(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", "liar.png", bytes(1_000_000))
    honest = path.read_bytes()
    path.write_bytes(honest.replace(struct.pack("<I", 1_000_000), struct.pack("<I", 2**30)))
    with pytest.raises(RefusedError, match=r"liar\.png: 1,073,741,824 bytes, at most"):
        list_sources([path])
    path.write_bytes(honest.replace(struct.pack("<I", 1_000_000), struct.pack("<I", 1_000)))
    (file,) = list_sources([path])
    assert file.size == 1_000
    tracemalloc.start()
    with pytest.raises(UnreadableError, match="damaged in the archive: Bad CRC"):
        read_bytes(file)
    assert tracemalloc.get_traced_memory()[1] < 100_000, "more is unpacked than is stated"
    tracemalloc.stop()


def test_encrypted_repeated_and_oddly_packed_entries_are_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", "secret.png")
    raw = bytearray(path.read_bytes())
    raw[raw.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(raw)
    with pytest.raises(RefusedError, match=r"secret\.png.*encrypted"):
        list_sources([path])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as file:
        file.writestr("odd.png", b"x")
    with pytest.raises(RefusedError, match=r"odd\.png.*method 14"):
        list_sources([path])
    with zipfile.ZipFile(path, "w") as file, pytest.warns(UserWarning):
        file.writestr("twice.png", b"x")
        file.writestr("twice.png", b"y")
    with pytest.raises(RefusedError, match=r"twice\.png.*twice"):
        list_sources([path])


def test_a_damaged_entry_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.png", png(0))
    raw = bytearray(path.read_bytes())
    raw[60] ^= 0xFF
    path.write_bytes(raw)
    (entry,) = list_sources([path])
    with pytest.raises(UnreadableError, match="damaged in the archive"):
        read_bytes(entry)


def test_what_is_no_archive_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"no zip")
    with pytest.raises(PrepareError, match=r"a\.zip: no zip archive"):
        list_sources([tmp_path / "a.zip"])
    with pytest.raises(PrepareError, match="no such folder"):
        list_sources([tmp_path / "nowhere"])


def test_hidden_files_are_left_out(tmp_path: Path) -> None:
    folder = tree(tmp_path / "images", 2)
    for name in (".DS_Store", "._000.png", "Thumbs.db"):
        (folder / name).write_bytes(b"x")
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX/a.png").write_bytes(b"x")
    names = ["000.png", "001.png"]
    assert [file.name for file in list_sources([folder])] == names
    assert [file.name for file in list_sources([zipped(folder, tmp_path / "a.zip")])] == names


# --- audit ---------------------------------------------------------------------------------------


def test_planted_duplicates_are_found(tmp_path: Path) -> None:
    # 0 a train, 5 b validation: the same; 2 a train, 8 a train: the same; 7 b test: 6, recompressed
    near = Image.open(io.BytesIO(png(6)))
    out = io.BytesIO()
    near.convert("RGB").save(out, "JPEG", quality=85)
    folder = tree(tmp_path / "images", n5=png(0), n8=png(2), n4=out.getvalue())
    card = run(folder, tmp_path / "toy.h5", channels="grey")
    exact, nearly = card.audit["exact_duplicates"], card.audit["near_duplicates"]
    assert exact == {
        "sets": 2,
        "images": 4,
        "sets_across_splits": 1,
        "sets_across_classes": 1,
        "listed": [
            ["train: 000.png", "validation: 005.png"],
            ["train: 002.png", "train: 008.png"],
        ],
    }
    assert nearly["listed"] == [["validation: 004.png", "test: 006.png"]]
    assert nearly["pairs"] == nearly["pairs_across_splits"] == 1
    assert nearly["complete"]
    assert card.audit["class_counts"]["train"] == {"a": 10, "b": 10}
    assert card.audit["unreadable"] == {"count": 0, "files": []}
    assert any("1 sets span splits" in fault for fault in card.confounders)
    assert read_card(tmp_path / "toy.h5").audit == json.loads(json.dumps(card.audit))


def test_groups_that_cross_splits_are_named(tmp_path: Path) -> None:
    plain = indexed(tree(tmp_path / "images"))
    samples = [
        replace(sample, group="both" if place in (0, 7) else f"p{place // 2}")
        for place, sample in enumerate(plain.samples)
    ]
    card = run(replace(plain, samples=samples), tmp_path / "toy.h5")
    assert card.audit["crossing_groups"] == {"count": 1, "groups": ["both"]}


# --- splits and limits --------------------------------------------------------------------------


def test_the_split_is_stratified_and_steady() -> None:
    shares = {"test": 0.2, "validation": 0.1}
    labels = {f"u{number}": number % 3 for number in range(300)}
    splits = stratified_split(labels, shares)
    for label in range(3):
        of_class = [splits[name] for name, its in labels.items() if its == label]
        counts = [of_class.count(split) for split in ("train", "validation", "test")]
        assert counts == [70, 10, 20]
    assert splits == stratified_split(dict(reversed(labels.items())), shares)
    assert splits != stratified_split(labels, shares, seed=1)
    one_more = stratified_split({**labels, "new": 0}, shares)
    assert sum(one_more[name] != split for name, split in splits.items()) <= 4
    few = stratified_split({"x": 0, "y": 0, "z": 0}, shares)
    assert sorted(few.values()) == ["test", "train", "validation"]


def test_memory_bounds_the_workers(tmp_path: Path) -> None:
    folder = tree(tmp_path / "images")
    index = indexed(folder)
    assert most_workers(index, DataContext(Path(), 64), 100) == 5
    assert most_workers(index, DataContext(Path(), 2), 100) == 2
    assert most_workers(index, DataContext(Path(), 64, memory_bytes=1), 100) == 1
    # decoded images wait in memory
    assert most_workers(index, DataContext(Path(), 64), 120_000_000) == 1
    archived = indexed(zipped(folder, tmp_path / "a.zip"))
    many = replace(archived, samples=[*archived.samples] * 25_000)
    # each process holds the index of the archive
    assert most_workers(many, DataContext(Path(), 64), 100) == 1


def test_a_full_disk_is_said_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = type("Usage", (), {"free": 100})()
    monkeypatch.setattr(sources.shutil, "disk_usage", lambda _: full)
    with pytest.raises(PrepareError, match=r"GB are needed.*--cache"):
        run(tree(tmp_path / "images"), tmp_path / "toy.h5")


def test_an_empty_split_is_said(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="no image is in the split 'validation'"):
        run(tree(tmp_path / "images", 4), tmp_path / "toy.h5")


def test_listing_keeps_to_what_was_listed(tmp_path: Path) -> None:
    folder = tree(tmp_path / "images", 1)
    (file,) = list_sources([folder])
    assert isinstance(file, SourceFile)
    (folder / "000.png").write_bytes(png(0) + b"more")
    with pytest.raises(UnreadableError, match="changed"):
        read_bytes(file)

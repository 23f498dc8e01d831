"""What happens to disks, files and clocks, each with its exact outcome.

Two commands at once: test_shared_folder.py. More kinds of damage: test_bad_input.py and
test_commands.py. Checkpoints and misbehaving plugins: the tests of the runner.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from commandline import Ended, Finished, command_line, content, digests, medbench, tiny_protocol
from faults import Prepare, read_only, small_disk, ways
from PIL import Image

from medbench.store.results import ResultsFolder

#: A third of the grid that ``finished`` has: two runs and the pretraining of one of them.
PART = ("--method", "cross-entropy", "--seed", "0")


def apart(*arguments: object, prepare: Prepare | None = None) -> Ended:
    """Call medbench in a process of its own, on a disk that ``prepare`` makes what it is."""
    ended = subprocess.run(
        command_line(*arguments),
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
        preexec_fn=prepare,
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)


def run_part(finished: Finished, results: Path, prepare: Prepare | None = None) -> Ended:
    return apart(
        *("run", *PART, "--protocol", finished.file, "--results", results),
        *("--jobs", "1", "--device", "cpu"),
        prepare=prepare,
    )


# ---------------------------------------------------------------- disks


@pytest.mark.parametrize("way", ways())
def test_disk_full(finished: Finished, tmp_path: Path, way: str) -> None:
    """The command stops and says so; no run counts as failed; with room it continues."""
    expected = digests(finished.results)
    # room for all but the weights of the pretraining, 44 KiB; as a file each, for all but those
    # and the records, 27 KiB and more
    kib = 40 if way == "mounted" else 24
    with small_disk(way, tmp_path / "disk", kib) as disk:
        results = disk.folder / "results"
        ended = run_part(finished, results, disk.prepare)
        assert ended.status == 2, ended
        last = ended.err.splitlines()[-1]
        assert last.startswith(f"medbench: {results}/")
        assert f"cannot be written: {disk.says}" in last
        assert last.endswith("the same command continues from here")
        assert "Traceback" not in ended.err
        assert ended.out == ""
        store = ResultsFolder.open(results)
        assert store.attempts() == {}, "the disk is at fault, not a run"
        assert not list(results.rglob("*.part")), "nothing half-written is left"
        assert not list(results.rglob("*.h5")), "and nothing torn is taken for done"

        disk.grow()
        ended = run_part(finished, results, disk.prepare)
        assert ended.status == 0, ended
        assert "2 runs done now, 0 before, 0 failed" in ended.err
        found = digests(results)
        assert len(found) == 2
        assert found.items() <= expected.items()
        assert medbench("verify", "--results", results, "--json").json["faults"] == []


@pytest.mark.parametrize("way", ways())
def test_read_only_folder(finished: Finished, tmp_path: Path, way: str) -> None:
    """What reads works; what would write is one line, and nothing is changed."""
    copy = finished.copy(tmp_path)
    before = content(copy)
    with read_only(way, copy) as prepare:
        ended = run_part(finished, copy, prepare)
        assert ended.status == 2, ended
        (line,) = ended.err.splitlines()
        refusal = "Read-only file system" if way == "mounted" else "Permission denied"
        assert line.startswith(f"medbench: {copy} cannot be written: {refusal}")
        assert "--results" in line
        for command in ("status", "results", "verify"):
            ended = apart(command, "--results", copy, prepare=prepare)
            assert ended.status == 0, ended
            assert "cannot" not in ended.err
        out = tmp_path / "board"
        ended = apart("leaderboard", "--results", copy, "--out", out, prepare=prepare)
        assert ended.status == 0, ended
        assert (out / "index.html").exists()
        assert content(copy) == before


# ---------------------------------------------------------------- damaged files


def test_truncated_record(finished: Finished, first_record: tuple[Path, Path]) -> None:
    """It is named and left alone; moved away, the same run is done again, bit for bit."""
    copy, path = first_record
    whole = path.read_bytes()
    for size in (0, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        verify = medbench("verify", "--results", copy, "--json")
        assert verify.status == 1
        assert [fault["file"] for fault in verify.json["faults"]] == [str(path.relative_to(copy))]
    ended = finished.again(copy)
    assert ended.status == 1
    assert f"{path} is not a whole record" in ended.err
    assert "1 unreadable" in ended.err
    assert path.stat().st_size == len(whole) - 1
    path.unlink()
    ended = finished.again(copy)
    assert ended.status == 0
    assert "1 run done now, 7 before" in ended.err
    assert digests(copy) == digests(finished.results)


def test_flipped_byte_in_a_record(first_record: tuple[Path, Path]) -> None:
    """Wherever it is: verify names that record and no other, or the byte holds nothing."""
    copy, path = first_record
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    places = [*rng.integers(len(whole), size=30), 0, len(whole) - 1]
    found = 0
    for place in map(int, places):
        damaged = bytearray(whole)
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        verify = medbench("verify", "--results", copy, "--json")
        named = [fault["file"] for fault in verify.json["faults"]]
        assert named in ([], [str(path.relative_to(copy))])
        assert verify.status == len(named)
        if named:
            found += 1
        else:  # room between the parts, which no reader looks at
            path.write_bytes(whole)
            sound = medbench("results", "--results", copy, "--format", "json").out
            path.write_bytes(damaged)
            assert medbench("results", "--results", copy, "--format", "json").out == sound
    assert found >= len(places) / 2


def test_flipped_byte_in_a_data_file(tmp_path: Path) -> None:
    """The run fails, naming the file and its cure; the data whole again, it is done."""
    images, cache = tmp_path / "images", tmp_path / "cache"
    rng = np.random.default_rng(0)
    for name in ("one", "two"):
        (images / name).mkdir(parents=True)
        for number in range(120):
            pixels = rng.integers(256, size=(16, 16), dtype=np.uint8)
            Image.fromarray(pixels).save(images / name / f"{number}.png")
    ended = medbench("data", "prepare", "folder:mine", images, "--cache", cache)
    assert ended.status == 0, ended
    file = tmp_path / "tiny.toml"
    table = '[datasets.mine]\nplugin = "folder"'
    file.write_text(tiny_protocol(table, datasets=["mine"]))
    data = cache / "mine.h5"
    whole = data.read_bytes()
    place = _place_of_pixels(whole, images / "one" / "0.png")
    damaged = bytearray(whole)
    damaged[place] ^= 0x10
    data.write_bytes(damaged)

    verify = medbench("data", "verify", "mine", "--cache", cache)
    assert verify.status == 1
    run = ("run", "--all", "--protocol", file, "--results", tmp_path / "results")
    run = (*run, "--cache", cache, "--device", "cpu")
    ended = medbench(*run)
    assert ended.status == 1
    ((attempt,),) = ResultsFolder.open(tmp_path / "results").attempts().values()
    assert attempt.state == "failed"
    assert str(data) in attempt.reason
    assert "remove it and run: medbench data prepare folder:mine SOURCE" in attempt.reason
    assert not list((tmp_path / "results").rglob("*.h5"))

    data.write_bytes(whole)
    ended = medbench(*run, "--only-failed")
    assert ended.status == 0
    assert "1 run done now" in ended.err


def _place_of_pixels(content: bytes, image: Path) -> int:
    """Return where the pixels of an image are in a file, at its second row."""
    row = np.asarray(Image.open(image))[1].tobytes()
    place = content.find(row)
    assert place > 0, "images are stored uncompressed"
    return place


# ---------------------------------------------------------------- clocks


@pytest.mark.parametrize("years", [-40, 20])
def test_clock_set_back(finished: Finished, tmp_path: Path, years: int) -> None:
    """Files from the future, or from long ago, are taken for what they are: nothing is repeated."""
    copy = finished.copy(tmp_path)
    medbench("status", "--results", copy)
    then = time.time() + years * 365.25 * 86400
    for path in copy.rglob("*"):
        os.utime(path, (then, then))
    (record, *others) = sorted((copy / "runs").rglob("*.h5"))
    record.unlink()
    kept = {path: path.stat().st_mtime_ns for path in others}
    ended = finished.again(copy)
    assert ended.status == 0
    assert "1 run done now, 7 before" in ended.err
    assert {path: path.stat().st_mtime_ns for path in others} == kept
    assert digests(copy) == digests(finished.results)
    status = medbench("status", "--results", copy, "--json")
    assert (status.json["done"], status.status) == (8, 0)

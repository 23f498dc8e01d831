"""Bundles: what goes in comes out, the same bytes each time, and nothing else gets through."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "medbench_leaderboard"))
sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))

from board_records import fail, finish, grid, plan
from commandline import content, medbench

from medbench.errors import StoreError
from medbench.store.bundle import MANIFEST, read_bundle, unpack_bundle, write_bundle
from medbench.store.results import ResultsFolder

POINTS = grid(method=["ce", "co"], seed=[0, 1])


@pytest.fixture
def results(tmp_path: Path) -> ResultsFolder:
    """Three finished runs of four, the fourth failed; with a log and a board."""
    results = plan(tmp_path / "lab", POINTS)
    for point in POINTS[:3]:
        finish(results, point, 0.5 + 0.1 * point["seed"])
    fail(results, POINTS[3], "no good")
    for stray in ("logs/ab/x.1.log", "board/index.html", "runs/ab/notes.txt", "index/runs.parquet"):
        (results.root / stray).parent.mkdir(parents=True, exist_ok=True)
        (results.root / stray).write_text("stray")
    return results


@pytest.fixture
def bundle(results: ResultsFolder, tmp_path: Path) -> Path:
    write_bundle(results, tmp_path / "lab.zip")
    return tmp_path / "lab.zip"


def rewrite(bundle: Path, change: Callable[[dict[str, bytes], dict], None], target: Path) -> Path:
    """Write a bundle again with files and manifest changed; the manifest comes first."""
    with zipfile.ZipFile(bundle) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(files.pop(MANIFEST))
    change(files, manifest)
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(MANIFEST, json.dumps(manifest))
        for name, data in files.items():
            archive.writestr(name, data)
    return target


def stated(data: bytes) -> dict[str, object]:
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def put(name: str, data: bytes) -> Callable[[dict[str, bytes], dict], None]:
    """Return a change that adds a file, or replaces it, and states it truly."""

    def change(files: dict[str, bytes], manifest: dict) -> None:
        files[name] = data
        manifest["files"][name] = stated(data)

    return change


def test_what_goes_in_comes_out_and_no_more(
    results: ResultsFolder, bundle: Path, tmp_path: Path
) -> None:
    unpack_bundle(bundle, tmp_path / "out")
    found, had = content(tmp_path / "out"), content(results.root)
    assert found.items() <= had.items()
    left = {name.split("/")[0] for name in had.keys() - found.keys()}
    assert left - {"index"} == {"logs", "board", "runs"}  # the index is there once one was read
    assert sum(name.startswith("runs/") for name in found) == 3
    assert sum(name.startswith("attempts/") for name in found) == 1


def test_the_same_results_give_the_same_bytes(
    results: ResultsFolder, bundle: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(results.root, tmp_path / "elsewhere")
    for path in copy.rglob("*"):
        os.utime(path, (1, 1))
    write_bundle(ResultsFolder.open(copy), tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == bundle.read_bytes()


def test_the_manifest_states_size_and_hash_of_each_file(
    results: ResultsFolder, bundle: Path
) -> None:
    with zipfile.ZipFile(bundle) as archive:
        manifest = json.loads(archive.read(archive.namelist()[0]))
        assert set(manifest["files"]) == set(archive.namelist()[1:])
        for name, file in manifest["files"].items():
            assert file == stated((results.root / name).read_bytes())
    assert manifest["protocol"] == "toy"


def test_weights_go_in_only_when_asked_for(results: ResultsFolder, tmp_path: Path) -> None:
    import numpy as np
    from board_records import pretraining_key

    from medbench.store.weights import PretrainedWeights, write_weights

    key = pretraining_key({**POINTS[0], "pretext": "rotation"})
    assert key
    write_weights(
        results.pretraining_path(key),
        PretrainedWeights(key, {}, {"w": np.ones(3)}, np.ones(1), np.ones(1), 0.5, {}),
    )
    assert not any(
        name.startswith("pretrainings/") for name in write_bundle(results, tmp_path / "a.zip").files
    )
    made = write_bundle(results, tmp_path / "b.zip", weights=True)
    assert f"pretrainings/{key[:2]}/{key}.safetensors" in made.files
    unpack_bundle(tmp_path / "b.zip", tmp_path / "out")
    assert content(tmp_path / "out").items() <= content(results.root).items()


@pytest.mark.parametrize(
    "name",
    [
        "../escaped.txt",
        "/tmp/escaped.txt",
        "runs/../../escaped.txt",
        "runs\\..\\escaped.h5",
        "runs/ab/notes.txt",
        "C:/escaped.txt",
        "medbench.json/",
        "board/index.html",
        "runs/cd/" + "ab" * 32 + ".h5",
        "runs/ab/" + "ab" * 32 + ".h5\n",
        "runs/ab/" + "AB" * 32 + ".h5",
    ],
)
def test_files_of_other_names_are_refused(bundle: Path, tmp_path: Path, name: str) -> None:
    bad = rewrite(bundle, put(name, b"x"), tmp_path / "bad.zip")
    before = content(tmp_path)
    with pytest.raises(StoreError, match="is no file of results"):
        unpack_bundle(bad, tmp_path / "deep" / "out")
    assert content(tmp_path) == before
    assert not Path("/tmp/escaped.txt").exists()


def test_links_are_refused(bundle: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.zip"
    name = "runs/ab/" + "ab" * 32 + ".h5"
    put_there = put(name, b"/etc/passwd")
    rewrite(bundle, put_there, bad)
    with zipfile.ZipFile(bad) as archive:
        files = [(entry, archive.read(entry)) for entry in archive.infolist()]
    with zipfile.ZipFile(bad, "w") as archive:
        for entry, data in files:
            if entry.filename == name:
                entry.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(entry, data)
    with pytest.raises(StoreError, match="is no plain file"):
        unpack_bundle(bad, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_bombs_are_refused_unread(bundle: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.zip"
    with zipfile.ZipFile(bad, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MANIFEST, "{}", zipfile.ZIP_STORED)
        archive.writestr("runs/ab/" + "ab" * 32 + ".h5", bytes(50_000_000))
    assert bad.stat().st_size < 100_000
    with pytest.raises(StoreError, match="would be larger than itself"):
        unpack_bundle(bad, tmp_path / "out")


def test_a_compressed_file_is_refused(bundle: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.zip"
    with zipfile.ZipFile(bad, "w") as archive:
        archive.writestr(MANIFEST, "{}")
        archive.writestr("plan.json", os.urandom(2000).hex(), zipfile.ZIP_DEFLATED)
        archive.writestr("protocol.toml", os.urandom(5000))
    with pytest.raises(StoreError, match=r"would be larger|is compressed"):
        unpack_bundle(bad, tmp_path / "out")


def test_a_file_twice_is_refused(bundle: Path, tmp_path: Path) -> None:
    bad = Path(shutil.copy(bundle, tmp_path / "bad.zip"))
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(bad, "a") as archive:
        archive.writestr("plan.json", "[]")
    with pytest.raises(StoreError, match="it holds a file twice"):
        read_bundle(bad)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda f, m: m["files"].pop("plan.json"), "its files are not those of its manifest"),
        (lambda f, m: f.pop("plan.json"), "its files are not those of its manifest"),
        (lambda f, m: (f.pop("plan.json"), m["files"].pop("plan.json")), "plan.json is missing"),
        (lambda f, m: m["files"]["plan.json"].update(size=1), "its files are not those"),
        (lambda f, m: m["files"]["plan.json"].update(sha256="0"), "plan.json is not what its"),
        (lambda f, m: f.update({"plan.json": f["plan.json"][:-1] + b" "}), "is not what its"),
        (lambda f, m: m.pop("files"), "manifest.json cannot be read"),
        (lambda f, m: m.update(files=[1]), "manifest.json cannot be read"),
        (lambda f, m: m.update(format="x"), "manifest.json cannot be read"),
        (lambda f, m: m.update(protocol="other"), "its results are of protocol 'toy'"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(
    bundle: Path, tmp_path: Path, change: Callable[[dict, dict], object], reason: str
) -> None:
    bad = rewrite(bundle, lambda f, m: change(f, m) and None, tmp_path / "bad.zip")
    with pytest.raises(StoreError, match=reason):
        unpack_bundle(bad, tmp_path / "out")


def test_a_newer_bundle_asks_for_an_update(bundle: Path, tmp_path: Path) -> None:
    bad = rewrite(bundle, lambda f, m: m.update(format=99), tmp_path / "new.zip")
    with pytest.raises(StoreError, match=r"format 99, this medbench reads \d: update"):
        read_bundle(bad)


def test_an_older_bundle_says_what_to_do(bundle: Path, tmp_path: Path) -> None:
    bad = rewrite(bundle, lambda f, m: m.update(format=1), tmp_path / "old.zip")
    with pytest.raises(StoreError, match="made with an older version of medbench"):
        read_bundle(bad)


def test_a_record_under_anothers_name_is_refused(bundle: Path, tmp_path: Path) -> None:
    def swap(files: dict[str, bytes], manifest: dict) -> None:
        first, second, *_ = sorted(name for name in files if name.startswith("runs/"))
        put(first, files[second])(files, manifest)

    bad = rewrite(bundle, swap, tmp_path / "bad.zip")
    with pytest.raises(StoreError, match="holds the record of run"):
        unpack_bundle(bad, tmp_path / "out")


def test_a_record_altered_with_the_manifest_is_refused(bundle: Path, tmp_path: Path) -> None:
    def alter(files: dict[str, bytes], manifest: dict) -> None:
        name = min(name for name in files if name.startswith("runs/"))
        data = bytearray(files[name])
        data[len(data) // 2] ^= 1
        put(name, bytes(data))(files, manifest)

    bad = rewrite(bundle, alter, tmp_path / "bad.zip")
    with pytest.raises(StoreError, match="is no whole record"):
        unpack_bundle(bad, tmp_path / "out")


@pytest.mark.parametrize("data", [b"", b"no zip", b"PK\x05\x06" + bytes(18)])
def test_other_files_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(StoreError, match="is not a sound bundle"):
        read_bundle(tmp_path / "x.zip")


def test_a_bundle_cut_anywhere_is_refused(bundle: Path, tmp_path: Path) -> None:
    whole = bundle.read_bytes()
    for part in range(1, 20):
        (tmp_path / "cut.zip").write_bytes(whole[: len(whole) * part // 20])
        with pytest.raises(StoreError, match="is not a sound bundle"):
            unpack_bundle(tmp_path / "cut.zip", tmp_path / f"out{part}")


def test_nothing_is_unpacked_over_something(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(StoreError, match="is not empty"):
        unpack_bundle(bundle, tmp_path / "out")
    assert content(tmp_path / "out").keys() == {"mine.txt"}


def test_there_must_be_something_to_bundle(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds no finished run yet"):
        write_bundle(plan(tmp_path / "lab", POINTS), tmp_path / "lab.zip")
    assert not (tmp_path / "lab.zip").exists()


def test_the_board_takes_a_bundle_as_it_takes_a_folder(
    results: ResultsFolder, bundle: Path, tmp_path: Path
) -> None:
    shutil.rmtree(results.root / "index")
    for name, source in (("folder", results.root), ("bundle", bundle)):
        ended = medbench("leaderboard", "--results", source, "--out", tmp_path / name)
        assert ended.status == 0, ended.err
    for file in ("leaderboard.csv", "runs.csv"):
        texts = [(tmp_path / name / file).read_text() for name in ("folder", "bundle")]
        assert texts[0].replace(str(results.root), str(bundle)) == texts[1]


def test_two_labs_meet_on_one_board(tmp_path: Path) -> None:
    for lab, method in (("a", "ce"), ("b", "co")):
        points = grid(method=[method], seed=[0, 1])
        results = plan(tmp_path / lab, points)
        for point in points:
            finish(results, point, 0.6 if lab == "a" else 0.7)
    ended = medbench("bundle", tmp_path / "b", "--out", tmp_path / "b.zip", "--json")
    assert ended.status == 0, ended.err
    assert ended.json["runs"] == 2
    ended = medbench(
        *("leaderboard", "--results", tmp_path / "a", "--results", tmp_path / "b.zip"),
        *("--out", tmp_path / "board"),
    )
    assert ended.status == 0, ended.err
    text = (tmp_path / "board" / "leaderboard.csv").read_text()
    assert '"ce"' in text and '"co"' in text


def test_the_command_unpacks_and_says_what_is_wrong(bundle: Path, tmp_path: Path) -> None:
    ended = medbench("bundle", bundle, "--unpack", tmp_path / "out")
    assert ended.status == 0, ended.err
    assert "3 runs of protocol toy" in ended.out
    again = medbench("bundle", bundle, "--unpack", tmp_path / "out")
    assert again.status == 2
    assert "is not empty" in again.err and len(again.err.splitlines()) == 1
    bare = medbench("leaderboard", "--results", bundle)
    assert bare.status == 2 and "say --out DIR" in bare.err

"""A board is made anew exactly where something that it is made from has changed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import board_records as toy
import h5py
import predicted_records as predicted
import pytest
from click.testing import CliRunner

from medbench.cli import bundle
from medbench.store.results import Results
from medbench_leaderboard import medbench_show_board, upkeep
from medbench_leaderboard.build import write_board
from medbench_leaderboard.command import leaderboard
from medbench_leaderboard.contributed import Section
from medbench_leaderboard.standings_json import standings_json
from medbench_leaderboard.terminal import plain_text
from medbench_leaderboard.upkeep import keep_up

POINTS = toy.grid(pretext=["none", "simclr"], seed=[0, 1])
KEY = toy.key_of(POINTS[0])


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """All but one run done, which has a claim of nobody."""
    results = toy.plan(tmp_path / "results", POINTS)
    for index, axes in enumerate(POINTS[:-1]):
        toy.finish(results, axes, 0.5 + index / 32)
    toy.pretrain(results, POINTS[-1], [2.0, 1.0])
    return results


def content(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def assert_as_if_made_now(results: Results, out: Path, scratch: Path) -> None:
    shutil.rmtree(scratch, ignore_errors=True)
    board, _ = write_board([results.root], scratch)
    assert content(out) == content(scratch)
    shown = keep_up([results.root], out)
    assert not shown.anew
    assert shown.text == plain_text(board)
    assert json.dumps(shown.standings) == json.dumps(standings_json(board))


def reset_times(path: Path, change: Callable[[], None]) -> None:
    """Make a change that neither size nor time of modification tell of."""
    before = path.stat()
    time.sleep(0.02)  # a file system's clock moves by some milliseconds
    change()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)


def edit(results: Results) -> None:
    """Change a value in place, with the times of modification put back."""
    path = results.record_path(KEY)

    def change() -> None:
        with h5py.File(path, "r+") as file:
            curve = file["curves/test/balanced_accuracy"]
            curve[0] = curve[0] + 0.125

    reset_times(path, change)


def exchange(results: Results) -> None:
    """Put other bytes of the same size and time in a record's place."""
    path = results.record_path(KEY)
    data = path.read_bytes()
    new = path.with_name(".new")
    new.write_bytes(data.replace(b'"data":0.5', b'"data":0.7'))
    before = path.stat()
    os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
    new.replace(path)


def replan(results: Results) -> None:
    runs = results.plan()
    results.write_plan(results.protocol_path.read_text("utf-8"), runs[::-1])


def declare(results: Results) -> None:
    runs = results.plan()
    results.write_plan(toy.PROTOCOL.replace("A toy", "Another toy"), runs)


CHANGES: dict[str, Callable[[Results], None]] = {
    "a curve edited, its time put back": edit,
    "a record exchanged, size and time kept": exchange,
    "a record damaged": lambda r: r.record_path(KEY).write_bytes(b"no record"),
    "a record removed": lambda r: r.record_path(KEY).unlink(),
    "a record added": lambda r: toy.finish(r, POINTS[0], 0.75),
    "a run failed": lambda r: toy.fail(r, POINTS[-1], "RuntimeError: one reason"),
    "its reason edited": lambda r: toy.fail(r, POINTS[-1], "RuntimeError: two reason"),
    "a pretraining removed": lambda r: shutil.rmtree(r.root / "pretrainings"),
    "the plan changed": replan,
    "the protocol changed": declare,
}


def test_what_changes_is_seen_and_what_is_kept_is_as_made_now(
    results: Results, tmp_path: Path
) -> None:
    out = results.board
    assert keep_up([results.root], out).anew
    assert_as_if_made_now(results, out, tmp_path / "now")
    for name, change in CHANGES.items():
        change(results)
        assert keep_up([results.root], out).anew, name
        assert not keep_up([results.root], out).anew, name
    assert_as_if_made_now(results, out, tmp_path / "now")


def test_the_same_plan_written_again_is_no_change(results: Results) -> None:
    keep_up([results.root], results.board)
    results.write_plan(results.protocol_path.read_text("utf-8"), results.plan())
    assert not keep_up([results.root], results.board).anew


def test_files_of_the_board_that_are_not_as_written_are_made_anew(results: Results) -> None:
    out = results.board
    keep_up([results.root], out)
    made = content(out)
    page = out / "index.html"

    def swap() -> None:
        page.write_bytes(page.read_bytes().replace(b"A toy", b"A boy"))

    spoilt: list[Callable[[], object]] = [
        page.unlink,
        lambda: page.write_text("mine"),
        lambda: reset_times(page, swap),
        lambda: (out / "figures" / "heat-map.pdf").unlink(),
        lambda: shutil.rmtree(out / "figures"),
    ]
    for spoil in spoilt:
        spoil()
        assert content(out) != made
        assert keep_up([results.root], out).anew
        assert content(out) == made
    (out / "notes.txt").write_text("somebody's own")
    assert not keep_up([results.root], out).anew


def test_a_figure_that_is_no_more_goes_unless_somebody_touched_it(results: Results) -> None:
    out = results.board
    keep_up([results.root], out)
    (out / "figures" / "pretraining.csv").write_text("somebody's notes")
    shutil.rmtree(results.root / "pretrainings")
    keep_up([results.root], out)
    left = [path.name for path in (out / "figures").glob("pretraining.*")]
    assert left == ["pretraining.csv"]


def test_whether_a_run_goes_on_or_was_interrupted_counts(results: Results) -> None:
    out, last = results.board, toy.key_of(POINTS[-1])
    keep_up([results.root], out)
    # another process holds the claim, and is killed
    program = (
        "import sys; from pathlib import Path; from medbench.store.locks import Locks\n"
        "claims = Locks(Path(sys.argv[1])); claims.__enter__()\n"
        "assert claims.take(sys.argv[2], 'a run'); print(flush=True); input()"
    )
    command = [sys.executable, "-c", program, str(results.locks_folder), last]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as holder:  # type: ignore[call-overload]
        assert holder.stdout.readline()
        running = keep_up([results.root], out)
        assert running.anew
        assert running.standings["runs"]["running"] == 1
        assert not keep_up([results.root], out).anew
        holder.kill()
    ended = keep_up([results.root], out)
    assert ended.anew
    assert ended.standings["runs"]["interrupted"] == 1


def test_being_told_to_check_makes_it_anew(results: Results) -> None:
    keep_up([results.root], results.board)
    assert keep_up([results.root], results.board, everything=True).anew
    assert not keep_up([results.root], results.board).anew


def test_what_is_remembered_of_records_counts_where_they_are_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medbench_leaderboard.resampling.MOST_RECORDS", 3)
    monkeypatch.setattr("medbench_leaderboard.upkeep.MOST_RECORDS", 3)
    results = Results.create(tmp_path / "results", "toy")
    predicted.plan(results, POINTS)
    for axes in POINTS:
        predicted.finish(results, axes, 0.6)
    mine, other = tmp_path / "mine", tmp_path / "other"
    unread = keep_up([results.root], mine)
    assert "were not compared" in unread.text
    assert not keep_up([results.root], mine).anew
    assert "were not compared" not in keep_up([results.root], other, everything=True).text
    # a board made now would show what was read for the other
    again = keep_up([results.root], mine)
    assert again.anew
    assert "were not compared" not in again.text
    assert not keep_up([results.root], mine).anew


def test_boards_of_several_folders(results: Results, tmp_path: Path) -> None:
    other = toy.plan(tmp_path / "other", POINTS)
    toy.finish(other, POINTS[-1], 0.75)
    both, out = [results.root, other.root], tmp_path / "both"
    assert keep_up(both, out).anew
    assert not keep_up(both, out).anew
    # another order, one of them alone, another place
    assert keep_up(both[::-1], out).anew
    assert keep_up(both, out).anew, "its files were another board's meanwhile"
    assert keep_up([results.root], out).anew
    assert keep_up(both, tmp_path / "elsewhere").anew
    keep_up(both, out)
    other.record_path(toy.key_of(POINTS[-1])).unlink()
    assert keep_up(both, out).anew


def test_bundles_are_always_read(results: Results, tmp_path: Path) -> None:
    file = tmp_path / "lab.zip"
    made = CliRunner().invoke(bundle.bundle, [str(results.root), "--out", str(file)])
    assert made.exit_code == 0, made.output
    arguments = ["--results", str(file), "--out", str(tmp_path / "board")]
    for _ in range(2):
        shown = CliRunner().invoke(leaderboard, arguments)
        assert shown.exit_code == 0, shown.output
        assert "Nothing has changed" not in shown.stderr


def test_sections_are_asked_for_each_time(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: Iterator[str] = iter(["one", "one", "two", "two"])
    monkeypatch.setattr(
        upkeep, "contributed", lambda folders: (Section("lab", next(said), (), (), ()),)
    )
    anew = [keep_up([results.root], results.board).anew for _ in range(4)]
    assert anew == [True, False, True, False]
    assert ">two<" in (results.board / "index.html").read_text("utf-8")


def test_what_is_kept_may_be_damaged_missing_or_forbidden(results: Results) -> None:
    out = results.board
    keep_up([results.root], out)
    made = content(out)
    (kept,) = (results.root / "index").glob("board-*.json")
    whole = kept.read_text("utf-8")
    for damaged in ("", whole[:-9], "[]", "{}", whole.replace('"files": {', '"files": {"a": 1, ')):
        kept.write_text(damaged)
        assert keep_up([results.root], out).anew
        assert content(out) == made
    shutil.rmtree(results.root / "index")
    (results.root / "index").write_text("no folder")
    for _ in range(2):
        assert keep_up([results.root], out).anew


def test_another_version_of_anything_makes_it_anew(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_up([results.root], results.board)
    real = upkeep.version
    with monkeypatch.context() as patched:
        patched.setattr(upkeep, "version", lambda n: "9.9" if n == "scipy" else real(n))
        assert keep_up([results.root], results.board).anew
    assert keep_up([results.root], results.board).anew


def test_the_command_says_so_and_prints_the_same(results: Results) -> None:
    arguments = ["--results", str(results.root)]
    first, second = (CliRunner().invoke(leaderboard, arguments) for _ in range(2))
    assert first.exit_code == second.exit_code == 0
    assert first.stdout == second.stdout
    assert first.stderr == ""
    assert second.stderr.startswith("Nothing has changed since this board was made")
    one = CliRunner().invoke(leaderboard, [*arguments, "--json"])
    keep_up([results.root], results.board, everything=True)
    anew = CliRunner().invoke(leaderboard, [*arguments, "--json", "--check"])
    assert one.stdout == anew.stdout


def test_a_board_that_is_up_to_date_loads_no_pandas(results: Results) -> None:
    keep_up([results.root], results.board)
    program = (
        "import sys; from pathlib import Path\n"
        "from medbench_leaderboard import medbench_build_board, medbench_show_board\n"
        "root = Path(sys.argv[1])\n"
        "medbench_build_board(root, root / 'board'); print(medbench_show_board(root))\n"
        "heavy = {'pandas', 'matplotlib', 'scipy', 'jinja2', 'torch'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    command = [sys.executable, "-c", program, str(results.root)]
    ended = subprocess.run(command, check=True, capture_output=True, text=True)
    assert ended.stdout == medbench_show_board(results.root) + "\n"

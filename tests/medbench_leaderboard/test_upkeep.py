"""A board is rebuilt exactly when something that it is made from has changed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import board_records as toy
import h5py
import pytest
from click.testing import CliRunner

from medbench.cli import bundle
from medbench.results import load
from medbench.store.results import ResultsFolder
from medbench_leaderboard import medbench_build_board, upkeep
from medbench_leaderboard.build import write_board
from medbench_leaderboard.command import leaderboard
from medbench_leaderboard.contributed import Section
from medbench_leaderboard.standings_json import standings_json
from medbench_leaderboard.terminal import plain_text
from medbench_leaderboard.upkeep import update_board

POINTS = toy.grid(pretext=["none", "simclr"], seed=[0, 1])
KEY = toy.key_of(POINTS[0])


@pytest.fixture
def results(tmp_path: Path) -> ResultsFolder:
    """All but one run done, which nobody has locked."""
    results = toy.plan(tmp_path / "results", POINTS)
    for index, axes in enumerate(POINTS[:-1]):
        toy.finish(results, axes, 0.5 + index / 32)
    toy.pretrain(results, POINTS[-1], [2.0, 1.0])
    return results


def content(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def assert_as_if_made_now(results: ResultsFolder, out: Path, scratch: Path) -> None:
    shutil.rmtree(scratch, ignore_errors=True)
    with ThreadPoolExecutor(1) as executor:
        board, _ = write_board(load(results.root), scratch, executor)
    assert content(out) == content(scratch)
    shown = update_board(load(results.root), out)
    assert not shown.rebuilt
    assert shown.text == plain_text(board)
    assert json.dumps(shown.standings) == json.dumps(standings_json(board))


def reset_times(path: Path, change: Callable[[], None]) -> None:
    """Make a change that neither size nor time of modification shows."""
    before = path.stat()
    time.sleep(0.02)  # a file system's clock moves by some milliseconds
    change()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)


def edit(results: ResultsFolder) -> None:
    """Change a value in place, with the time of modification restored."""
    path = results.record_path(KEY)

    def change() -> None:
        with h5py.File(path, "r+") as file:
            curve = file["curves/test/balanced_accuracy"]
            curve[0] = curve[0] + 0.125

    reset_times(path, change)


def exchange(results: ResultsFolder) -> None:
    """Put other bytes of the same size and time in a record's place."""
    path = results.record_path(KEY)
    data = path.read_bytes()
    new = path.with_name(".new")
    new.write_bytes(data.replace(b'"data":0.5', b'"data":0.7'))
    before = path.stat()
    os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
    new.replace(path)


def replan(results: ResultsFolder) -> None:
    runs = results.plan()
    results.write_plan(results.protocol_path.read_text("utf-8"), runs[::-1])


def declare(results: ResultsFolder) -> None:
    runs = results.plan()
    results.write_plan(toy.PROTOCOL.replace("A toy", "Another toy"), runs)


CHANGES: dict[str, Callable[[ResultsFolder], None]] = {
    "a curve edited, its time restored": edit,
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


def test_what_changes_is_seen_and_what_is_kept_is_as_rebuilt(
    results: ResultsFolder, tmp_path: Path
) -> None:
    out = results.board
    assert update_board(load(results.root), out).rebuilt
    assert_as_if_made_now(results, out, tmp_path / "now")
    for name, change in CHANGES.items():
        change(results)
        assert update_board(load(results.root), out).rebuilt, name
        assert not update_board(load(results.root), out).rebuilt, name
    assert_as_if_made_now(results, out, tmp_path / "now")


def test_the_same_plan_written_again_is_no_change(results: ResultsFolder) -> None:
    update_board(load(results.root), results.board)
    results.write_plan(results.protocol_path.read_text("utf-8"), results.plan())
    assert not update_board(load(results.root), results.board).rebuilt


def test_files_of_the_board_that_are_not_as_written_are_rebuilt(results: ResultsFolder) -> None:
    out = results.board
    update_board(load(results.root), out)
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
        assert update_board(load(results.root), out).rebuilt
        assert content(out) == made
    (out / "notes.txt").write_text("somebody's own")
    assert not update_board(load(results.root), out).rebuilt


#: Makes a board and is killed when it is about to write the third file.
DYING = """
import os, signal, sys
from pathlib import Path
from medbench_leaderboard import build, medbench_build_board

write, written = build.write_bytes, []

def dying(path, content):
    if len(written) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    written.append(path)
    write(path, content)

build.write_bytes = dying
medbench_build_board(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_a_board_that_was_killed_while_it_was_written_is_as_undisturbed(
    results: ResultsFolder, tmp_path: Path
) -> None:
    out, records = results.board, content(results.root / "runs")
    ended = subprocess.run([sys.executable, "-c", DYING, results.root, out], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert len(content(out)) == 2
    assert update_board(load(results.root), out).rebuilt
    assert_as_if_made_now(results, out, tmp_path / "now")
    assert content(results.root / "runs") == records


def test_a_figure_that_is_no_more_goes_unless_somebody_touched_it(results: ResultsFolder) -> None:
    out = results.board
    update_board(load(results.root), out)
    (out / "figures" / "pretraining.csv").write_text("somebody's notes")
    shutil.rmtree(results.root / "pretrainings")
    update_board(load(results.root), out)
    left = [path.name for path in (out / "figures").glob("pretraining.*")]
    assert left == ["pretraining.csv"]


def test_whether_a_run_goes_on_or_was_interrupted_counts(results: ResultsFolder) -> None:
    out, last = results.board, toy.key_of(POINTS[-1])
    update_board(load(results.root), out)
    # another process holds the lock, and is killed
    program = (
        "import sys; from pathlib import Path; from medbench.store.locks import Locks, RunningJob\n"
        "locks = Locks(Path(sys.argv[1])); locks.__enter__()\n"
        "assert locks.acquire(RunningJob(sys.argv[2], 'a run')); print(flush=True); input()"
    )
    command = [sys.executable, "-c", program, str(results.locks_folder), last]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as holder:  # type: ignore[call-overload]
        assert holder.stdout.readline()
        running = update_board(load(results.root), out)
        assert running.rebuilt
        assert running.standings["runs"]["running"] == 1
        assert not update_board(load(results.root), out).rebuilt
        holder.kill()
    ended = update_board(load(results.root), out)
    assert ended.rebuilt
    assert ended.standings["runs"]["interrupted"] == 1


def test_check_rebuilds_it(results: ResultsFolder) -> None:
    update_board(load(results.root), results.board)
    assert update_board(load(results.root), results.board, everything=True).rebuilt
    assert not update_board(load(results.root), results.board).rebuilt


def test_boards_of_several_folders(results: ResultsFolder, tmp_path: Path) -> None:
    other = toy.plan(tmp_path / "other", POINTS)
    toy.finish(other, POINTS[-1], 0.75)
    both, out = [results.root, other.root], tmp_path / "both"
    assert update_board(load(both), out).rebuilt
    assert not update_board(load(both), out).rebuilt
    # another order, one of them alone, another place
    assert update_board(load(both[::-1]), out).rebuilt
    assert update_board(load(both), out).rebuilt, "its files were another board's meanwhile"
    assert update_board(load(results.root), out).rebuilt
    assert update_board(load(both), tmp_path / "elsewhere").rebuilt
    update_board(load(both), out)
    other.record_path(toy.key_of(POINTS[-1])).unlink()
    assert update_board(load(both), out).rebuilt


def test_bundles_are_always_read(results: ResultsFolder, tmp_path: Path) -> None:
    file = tmp_path / "lab.zip"
    made = CliRunner().invoke(bundle.bundle, [str(results.root), "--out", str(file)])
    assert made.exit_code == 0, made.output
    arguments = ["--results", str(file), "--out", str(tmp_path / "board")]
    for _ in range(2):
        shown = CliRunner().invoke(leaderboard, arguments)
        assert shown.exit_code == 0, shown.output
        assert "Nothing has changed" not in shown.stderr


def test_sections_are_asked_for_each_time(
    results: ResultsFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: Iterator[str] = iter(["one", "one", "two", "two"])
    monkeypatch.setattr(
        upkeep, "contributed", lambda folders: (Section("lab", next(said), (), (), ()),)
    )
    rebuilt = [update_board(load(results.root), results.board).rebuilt for _ in range(4)]
    assert rebuilt == [True, False, True, False]
    assert ">two<" in (results.board / "index.html").read_text("utf-8")


def test_what_is_kept_may_be_damaged_missing_or_forbidden(results: ResultsFolder) -> None:
    out = results.board
    update_board(load(results.root), out)
    made = content(out)
    (kept,) = (results.root / "index").glob("board-*.json")
    whole = kept.read_text("utf-8")
    for damaged in ("", whole[:-9], "[]", "{}", whole.replace('"files": {', '"files": {"a": 1, ')):
        kept.write_text(damaged)
        assert update_board(load(results.root), out).rebuilt
        assert content(out) == made
    shutil.rmtree(results.root / "index")
    (results.root / "index").write_text("no folder")
    for _ in range(2):
        assert update_board(load(results.root), out).rebuilt


def test_another_version_of_anything_rebuilds_it(
    results: ResultsFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site-packages"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    update_board(load(results.root), results.board)
    (site / "scipy-9.9.dist-info").mkdir()
    assert update_board(load(results.root), results.board).rebuilt
    assert not update_board(load(results.root), results.board).rebuilt


def test_the_command_says_so_and_prints_the_same(results: ResultsFolder) -> None:
    arguments = ["--results", str(results.root)]
    first, second = (CliRunner().invoke(leaderboard, arguments) for _ in range(2))
    assert first.exit_code == second.exit_code == 0
    assert first.stdout == second.stdout
    assert first.stderr == ""
    assert second.stderr.startswith("Nothing has changed since this board was made")
    one = CliRunner().invoke(leaderboard, [*arguments, "--json"])
    update_board(load(results.root), results.board, everything=True)
    again = CliRunner().invoke(leaderboard, [*arguments, "--json", "--check"])
    assert one.stdout == again.stdout


def test_a_board_that_is_up_to_date_loads_no_pandas(results: ResultsFolder) -> None:
    update_board(load(results.root), results.board)
    program = (
        "import sys; from pathlib import Path\n"
        "from medbench_leaderboard import medbench_build_board\n"
        "root = Path(sys.argv[1])\n"
        "print(medbench_build_board(root, root / 'board'))\n"
        "heavy = {'pandas', 'matplotlib', 'scipy', 'jinja2', 'torch'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    command = [sys.executable, "-c", program, str(results.root)]
    ended = subprocess.run(command, check=True, capture_output=True, text=True)
    assert ended.stdout == medbench_build_board(results.root, results.board) + "\n"

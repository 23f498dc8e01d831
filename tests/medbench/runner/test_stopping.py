"""Stopped by Ctrl-C or as a cluster does: kept, said how to go on, and gone on with exactly."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from carry import carry_out, digests_of
from commandline import alive, command_line, install, tiny_protocol

from medbench.store.records import read_record
from medbench.store.results import ResultsFolder
from medbench.store.status import run_statuses

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")

#: Seconds a stop may take here: it is to take 10, on a machine that has nothing else to do.
PATIENCE = 30


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The misbehaving methods as a distribution, for this process and those it starts."""
    files = {
        "nuisance.py": Path(__file__).with_name("nuisance.py").read_text(),
        "nuisance_exits.py": "",
    }
    install(tmp_path / "site", "medbench-nuisance", "0.1", {"nuisance": "nuisance"}, files)
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    (tmp_path / "notes").mkdir()
    return tmp_path


def protocol(folder: Path, method: str, epochs: int = 2) -> Path:
    notes = json.dumps(str(folder / "notes"))
    text = tiny_protocol(f"[methods.{method}]\nnotes = {notes}", methods=[method])
    file = folder / "tiny.toml"
    file.write_text(text.replace("[training]\nepochs = 2", f"[training]\nepochs = {epochs}"))
    return file


def started(file: Path, note: Path) -> subprocess.Popen[str]:
    """Start the command, in a process group of its own, and wait until its run is at work."""
    process = subprocess.Popen(
        command_line(
            *("run", "--all", "--protocol", file, "--results", file.parent / "results"),
            *("--jobs", "1", "--device", "cpu", "--checkpoint-every", "1h"),
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for(note.exists, process)
    return process


def wait_for(what: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 120
    while not what():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)


def all_below(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return list(psutil.Process(process.pid).children(recursive=True))


@pytest.mark.parametrize(
    ("number", "everybody"),
    [
        # test_resume.py interrupts a command as well
        pytest.param(signal.SIGINT, False, marks=pytest.mark.slow),
        (signal.SIGTERM, True),
    ],
)
def test_stopped_it_keeps_how_far_it_is_and_goes_on_exactly(
    folder: Path, number: signal.Signals, everybody: bool
) -> None:
    """A terminal signals the command's group; a cluster every process there is, some twice."""
    file, slow = protocol(folder, "slow", epochs=40), folder / "notes" / "slow"
    slow.touch()
    process = started(file, folder / "notes" / "at-work")
    below = all_below(process)
    assert len(below) >= 3, "a server, an evaluator process and a training process"
    if everybody:
        for other in below:
            other.send_signal(number)
    os.killpg(process.pid, number)
    began = time.monotonic()
    if everybody:  # the script of a worker passes it on
        time.sleep(0.2)
        process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE)
    assert time.monotonic() - began < PATIENCE
    assert process.returncode == 128 + number
    assert out == ""
    if not everybody:  # else the run may have ended before the command asks it to
        assert "stopping: 1 running job to save a checkpoint" in err
    assert err.splitlines()[-1].startswith("medbench: stopped; ")
    assert "same command" in err.splitlines()[-1]
    assert "Traceback" not in err
    _, left = psutil.wait_procs(below, timeout=PATIENCE)  # the server ends once its command has
    assert not [p for p in left if alive(p.pid)]

    results = ResultsFolder.open(folder / "results")
    (state,) = run_statuses(results)
    assert state.status == "interrupted"
    assert "it will continue after epoch" in state.reason
    assert len(results.checkpoints(state.run.key).paths()) == 1
    assert not list(results.root.rglob("*.part"))

    slow.unlink()
    assert carry_out(file, results.root).done == [state.run.key]
    record = read_record(results.record_path(state.run.key))
    (epoch,) = record.header.metadata["resumed"]
    assert 0 < epoch < 40
    assert not carry_out(file, folder / "undisturbed").failed
    assert digests_of(results) == digests_of(ResultsFolder.open(folder / "undisturbed"))


@pytest.mark.slow
def test_what_hangs_is_ended_when_its_time_is_up(folder: Path) -> None:
    hanging = folder / "notes" / "hanging"
    process = started(protocol(folder, "hangs"), hanging)
    pids = [int(pid) for pid in hanging.read_text().split()]
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "same command" in err.splitlines()[-1]
    assert not any(map(alive, pids))
    (state,) = run_statuses(ResultsFolder.open(folder / "results"))
    assert state.status == "interrupted"


def test_a_second_signal_ends_all_at_once(folder: Path) -> None:
    hanging = folder / "notes" / "hanging"
    process = started(protocol(folder, "hangs"), hanging)
    pids = [int(pid) for pid in hanging.read_text().split()]
    process.send_signal(signal.SIGINT)
    time.sleep(1)
    assert process.poll() is None, "the first only asks"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert err.splitlines()[-1].startswith("medbench: ended at once")
    end = time.monotonic() + PATIENCE
    while any(map(alive, pids)):
        assert time.monotonic() < end
        time.sleep(0.05)

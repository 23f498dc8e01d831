"""Children are found as psutil finds them, and none is left by a killing."""

from __future__ import annotations

import subprocess
import sys
import time

import psutil
import pytest

from medbench.runner.local import processes
from medbench.runner.local.processes import below, children, kill_below

#: Starts three children that start two each, says so, and waits.
FAMILY = """
import subprocess, sys, time
inner = "import subprocess, sys, time; [subprocess.Popen(['sleep', '300']) for _ in range(2)]; " \\
        "print('up', flush=True); time.sleep(300)"
command = [sys.executable, "-c", inner]
parents = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(3)]
for parent in parents:
    parent.stdout.readline()
print("up", flush=True)
time.sleep(300)
"""


@pytest.fixture
def family():
    started = subprocess.Popen([sys.executable, "-c", FAMILY], stdout=subprocess.PIPE)
    assert started.stdout is not None
    assert started.stdout.readline()
    yield started
    started.kill()
    started.wait()


#: As the kernel lists them, where it does, and as psutil finds them.
WAYS = [True, False] if processes._LISTED else [False]


@pytest.mark.parametrize("listed", WAYS)
def test_children_are_those_that_psutil_finds(family, monkeypatch, listed: bool) -> None:
    monkeypatch.setattr(processes, "_LISTED", listed)
    whole = psutil.Process(family.pid)
    assert set(children(family.pid)) == set(whole.children())
    assert set(below(family.pid)) == set(whole.children(recursive=True))
    assert len(below(family.pid)) == 9


def test_none_is_left(family) -> None:
    there = below(family.pid)
    kill_below(family.pid)
    assert below(family.pid) == []
    deadline = time.monotonic() + 10
    while any(processes.runs(process) for process in there) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not [process for process in there if processes.runs(process)]
    assert family.poll() is None, "the one they are below lives on"


def test_a_process_that_is_gone_has_no_children() -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    assert children(ended.pid, recursive=True) == []
    kill_below(ended.pid)

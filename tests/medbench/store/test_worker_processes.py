"""Processes that other modules spread their work over."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import psutil
from medbench.store.parallel import worker_processes
if __name__ == "__main__":
    with worker_processes(1) as pool:
        assert pool.submit(len, "abc").result() == 3
        started = psutil.Process().children(recursive=True)
        print(*(word for child in started for word in child.cmdline()))
"""


def test_the_fork_server_is_left_to_the_executor(tmp_path: Path) -> None:
    """A process has one; started for something else it would not have loaded torch."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "spawn" in ended.stdout
    assert "forkserver" not in ended.stdout

"""Memory of a grid: `python performance/bench_memory.py -- medbench run ...`.

Runs a command and adds up, every half second, the memory of all processes below it: anonymous
pages and shared memory by proportional shares, and apart from them the pages of mapped files,
which the system can take back, and among these the images that jobs share. Prints the peaks.
"""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

INTERVAL = 0.5


def shares(pid: int) -> dict[str, int]:
    """Return proportional shares of a process in bytes, by kind of memory."""
    found = {"Pss_Anon": 0, "Pss_Shmem": 0, "Pss_File": 0}
    with suppress(OSError):  # it has ended
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name in found:
                found[name] = int(rest.split()[0]) * 1024
    return found


def shared_images(pid: int) -> int:
    """Return the proportional share of a process in mapped files of a folder `pixels`."""
    total, counts = 0, False
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name == "Pss" and counts:
                total += int(rest.split()[0]) * 1024
            elif "-" in line.split(" ", 1)[0]:  # a mapping begins with its addresses
                counts = "/pixels/" in line
    return total


def main() -> None:
    command = sys.argv[1:]
    command = command[1:] if command[:1] == ["--"] else command
    if not command:
        sys.exit(__doc__)
    process = subprocess.Popen(command)
    own: dict[int, int] = {}
    files = images = 0
    while process.poll() is None:
        with suppress(psutil.Error):
            everyone = [process.pid, *(p.pid for p in psutil.Process(process.pid).children(True))]
            held = {pid: shares(pid) for pid in everyone}
            now = {pid: each["Pss_Anon"] + each["Pss_Shmem"] for pid, each in held.items()}
            own = max(own, now, key=lambda each: sum(each.values()))
            files = max(files, sum(each["Pss_File"] for each in held.values()))
            images = max(images, sum(map(shared_images, everyone)))
        time.sleep(INTERVAL)
    each = ", ".join(f"{held / 1024**3:.2f}" for held in sorted(own.values(), reverse=True))
    print(f"anonymous and shared: {sum(own.values()) / 1024**3:.2f} GiB at the peak ({each})")
    print(f"mapped files: {files / 1024**3:.2f} GiB at the peak, images {images / 1e6:.1f} MB")
    sys.exit(process.returncode)


if __name__ == "__main__":
    main()

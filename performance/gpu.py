"""What a GPU does with medbench, in one run: `python performance/gpu.py --device cuda:0`.

1. Digests of a small grid with one job and with four at once: equal?
2. An epoch of SimCLR and of DivideMix against the same steps on a prepared batch, by side and
   precision, with the peak memory of the device; next to SimCLR the views of a DataLoader.
3. Eight jobs packed on the device against one after the other.

On one H100 it is to take at most 8 minutes. `--small --device cpu` tries all of it on a CPU.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from bench_augment import peer, pictures, rate
from bench_step import compared, method_stage, plugin, pretext_stage, say

from medbench.store.records import read_header

PROTOCOL = """
name = "gpu"
[grid]
datasets = ["pneumonia-mnist"]
noise = ["symmetric"]
rates = [0.2]
pretexts = ["simclr"]
methods = ["cross-entropy", "dividemix", "co-teaching", "elr"]
seeds = [0, 1]
[images]
size = {size}
train = {count}
validation = 32
test = 64
[backbone]
name = "{backbone}"
[pretraining]
epochs = 2
batch_size = 32
[training]
epochs = 4
batch_size = 32
"""


def grid(folder: Path, device: str, jobs: int, protocol: str) -> tuple[float, dict[str, str]]:
    """Carry out a grid; return its wall seconds, and digests by run key."""
    folder.mkdir()
    file = folder / "gpu.toml"
    file.write_text(protocol)
    results = folder / "results"
    command = [sys.executable, "-m", "medbench", "run", "--all", "--protocol", str(file)]
    command += ["--results", str(results), "--device", device, "--jobs", str(jobs)]
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seconds = time.perf_counter() - began
    headers = map(read_header, (results / "runs").glob("*/*.h5"))
    return seconds, {header.key: header.digest for header in headers}


def grids(device: str, protocol: str) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        found = {
            jobs: grid(Path(temporary, str(jobs)), device, jobs, protocol) for jobs in (1, 4, 8)
        }
    seconds, digests = found[1]
    say(f"{len(digests)} runs, one at a time: {seconds:.1f} s\n")
    for jobs in (4, 8):
        differ = sum(found[jobs][1][key] != digest for key, digest in digests.items())
        say(f"{jobs} jobs: {found[jobs][0]:.1f} s, {differ} digests differ\n")


def steps(device: str, backbone: str, sizes: list[int], count: int, batch: int) -> None:
    say("| case | px | precision | images / s | epoch / bare | peak MiB |\n")
    say("| --- | --- | --- | --- | --- | --- |\n")
    network = plugin("backbone", backbone)
    for size in sizes:
        for precision in ("float32", "bfloat16"):
            how = {"size": size, "count": count, "batch": batch, "device": device}
            how |= {"precision": precision, "threads": 1}
            for case in ("simclr", "dividemix"):
                if device.startswith("cuda"):
                    torch.cuda.reset_peak_memory_stats()
                if case == "simclr":
                    stage = pretext_stage(plugin("pretext", case), network, **how)
                else:
                    stage = method_stage(plugin("method", case, warmup_epochs=1), network, **how)
                found = compared(stage, device, pairs=3, warmup=2)
                peak = torch.cuda.max_memory_allocated() if device.startswith("cuda") else 0
                say(f"| {case} | {size} | {precision} | {found['images / s']:.0f} | ")
                say(f"{found['epoch / bare']:.3f} | {peak / 1024**2:.0f} |\n")
                sys.stdout.flush()
                del stage
        loader = peer("simclr", pictures(min(count, 512), size, 3), 8 if count > 64 else 1, "v2")
        rate(loader)
        say(f"| DataLoader, two views | {size} | float32 | {rate(loader) / 2:.0f} | | |\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--small", action="store_true", help="a trial in little time")
    parser.add_argument("--only", choices=["grids", "steps"])
    given = parser.parse_args()
    began = time.perf_counter()
    backbone = "narrow" if given.small else "resnet18"
    sizes, count, batch = ([16], 32, 16) if given.small else ([64, 224], 2048, 128)
    if given.device.startswith("cuda"):
        say(f"{torch.cuda.get_device_name()}, torch {torch.__version__}\n")
    if given.only != "grids":
        steps(given.device, backbone, sizes, count, batch)
    if given.only != "steps":
        size, train = (16, 48) if given.small else (64, 1024)
        grids(given.device, PROTOCOL.format(size=size, count=train, backbone=backbone))
    say(f"{time.perf_counter() - began:.0f} s in all\n")


if __name__ == "__main__":
    main()

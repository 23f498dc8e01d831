"""Observers, in real processes: they are told everything, and nothing they do comes back."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from commandline import alive, medbench, tiny_protocol
from medbench.runner.callbacks import CallbackListener
from shelf import Shelf

from medbench.errors import PluginError
from medbench.interfaces import EpochEnded, Job, JobEnd, JobEnded, JobProgress, JobStarted
from medbench.interfaces.options import (
    ComputeOptions,
    EvaluationOptions,
    ImageOptions,
    TrainingOptions,
)
from medbench.plugins import callbacks
from medbench.plugins.callbacks import Observers, Watcher
from medbench.plugins.registry import discover
from medbench.plugins.watchers import watchers_of
from medbench.protocol.spec import DatasetSpec, PluginSpec, RunSpec

GRACE = 60.0  # for those that end by themselves, on a machine however busy

NOTES = """
    from dataclasses import asdict
    import json
    from pathlib import Path
    from medbench import hookimpl

    def note(event):
        with Path(event.results, "notes.jsonl").open("a") as file:
            file.write(json.dumps([type(event).__name__, asdict(event)]) + "\\n")

    @hookimpl
    def medbench_job_started(event): note(event)

    @hookimpl
    def medbench_epoch_ended(event): note(event)

    @hookimpl
    def medbench_job_ended(event): note(event)
"""

ODD = {
    "raises": "raise ValueError('first\\nsecond \\x1b[31m')",
    "exits": "raise SystemExit(3)",
    "changes": "event.state = 'done'",
    "vanishes": "import os; os._exit(7)",
    "prints": "print('printed')",
    "interrupts": "raise KeyboardInterrupt",
}


def odd(code: str) -> str:
    return f"""
    from medbench import hookimpl

    @hookimpl
    def medbench_job_ended(event):
        {code}
    """


def job(results: Path) -> Job:
    def plugin(name: str) -> PluginSpec:
        return PluginSpec("tests", name, name, 1, {})

    spec = RunSpec(
        dataset=DatasetSpec("tests", "a-dataset", "a-dataset", 1, {}, None),
        noise=plugin("a-noise"),
        rate=0.2,
        pretext="none",
        method=plugin("a-method"),
        seed=3,
        pretraining=None,
        backbone=plugin("tiny"),
        images=ImageOptions(),
        training=TrainingOptions(epochs=2),
        compute=ComputeOptions(),
        evaluation=EvaluationOptions(),
        root_seed=0,
        engine=1,
        interface=1,
    )
    return Job(spec, results, results, "cpu", attempt=4)


def ended(results: Path) -> JobEnded:
    return JobEnded("run", "k", "a label", {}, 1, "failed", "why", 1.0, "", str(results))


class Silent:
    """Shows nothing; remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def __getattr__(self, name: str):
        return lambda *arguments: self.told.append(name)


def test_observers_are_told_what_people_are_told(shelf: Shelf, tmp_path: Path) -> None:
    shelf.module("notes", NOTES)
    observers, shown = Observers([Watcher("notes", "notes")], tmp_path / "logs", GRACE), Silent()
    telling = CallbackListener(shown, observers)
    work = job(tmp_path)
    telling.started(work)
    telling.progressed(work, JobProgress(work.key, 1, 2))
    telling.ended(work, JobEnd(work.key, "timeout", "too long"))
    assert observers.close() == []
    assert shown.told == ["started", "progressed", "ended"]

    events = [json.loads(line) for line in (tmp_path / "notes.jsonl").read_text().splitlines()]
    assert [name for name, _ in events] == ["JobStarted", "EpochEnded", "JobEnded"]
    started, epoch, end = (values for _, values in events)
    assert started["axes"] == {
        "dataset": "a-dataset", "noise": "a-noise", "rate": 0.2, "pretext": "none",
        "method": "a-method", "seed": 3,
    }  # fmt: skip
    assert (started["epochs"], started["attempt"], started["device"]) == (2, 4, "cpu")
    assert (epoch["epoch"], epoch["epochs"], epoch["label"]) == (1, 2, work.label)
    assert (end["state"], end["reason"], end["record"]) == ("timeout", "too long", "")
    assert end["seconds"] >= 0


def test_what_observers_do_wrong_is_one_line_each(shelf: Shelf, tmp_path: Path) -> None:
    watchers = []
    for name, code in ODD.items():
        shelf.module(name, odd(code))
        watchers.append(Watcher(name, name))
    watchers += [Watcher("absent", "no_such_module"), Watcher("notes", "notes")]
    shelf.module("notes", NOTES)
    observers = Observers(watchers, tmp_path / "logs", GRACE)
    for _ in range(3):
        observers.tell(ended(tmp_path))
    lines = observers.close()
    told = {line.split()[1]: line for line in lines}
    assert set(told) == {"raises", "exits", "changes", "vanishes", "interrupts", "absent"}
    assert "failed 3 times, first: ValueError: first; the runs are unaffected" in told["raises"]
    assert "failed 3 times, first: SystemExit: 3" in told["exits"]
    assert "failed 3 times, first: FrozenInstanceError" in told["changes"]
    assert "ended its process with status 7" in told["vanishes"]
    assert "No module named 'no_such_module'" in told["absent"]
    assert all(line.isprintable() for line in lines)
    assert len((tmp_path / "notes.jsonl").read_text().splitlines()) == 3
    assert (tmp_path / "logs" / "prints.log").read_text().split() == ["printed"] * 3
    assert "Traceback" in (tmp_path / "logs" / "raises.log").read_text()


def test_an_observer_that_hangs_is_ended_with_what_it_started(shelf: Shelf, tmp_path: Path) -> None:
    shelf.module(
        "hangs",
        f"""
        import os, subprocess, time
        from pathlib import Path
        from medbench import hookimpl

        @hookimpl
        def medbench_job_ended(event):
            child = subprocess.Popen(["sleep", "600"])
            Path({str(tmp_path)!r}, "pids.tmp").write_text(f"{{os.getpid()}} {{child.pid}}")
            os.rename(Path({str(tmp_path)!r}, "pids.tmp"), Path({str(tmp_path)!r}, "pids"))
            while True:
                time.sleep(1)
        """,
    )
    observers = Observers([Watcher("hangs", "hangs")], tmp_path / "logs", grace=1.0)
    began = time.monotonic()
    observers.tell(ended(tmp_path))
    assert time.monotonic() - began < 1.0, "nobody waits for an observer"
    while not (tmp_path / "pids").exists():
        assert time.monotonic() - began < 120
        time.sleep(0.05)
    (line,) = observers.close()
    assert "had not worked off what it was told within 1 s and was ended" in line
    for pid in (tmp_path / "pids").read_text().split():
        assert not alive(int(pid))


def test_a_slow_observer_holds_nothing_up(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callbacks, "MOST_WAITING", 5)
    shelf.module("sleeps", odd("import time; time.sleep(1000)"))
    observers = Observers([Watcher("sleeps", "sleeps")], tmp_path / "logs", grace=0.2)
    began = time.monotonic()
    for _ in range(20_000):  # more than the pipe and the queue hold
        observers.tell(ended(tmp_path))
    assert time.monotonic() - began < 30
    (line,) = observers.close()
    assert "messages came faster than it took them" in line


def test_who_is_told(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.install("my-lab", "lab", NOTES)
    shelf.install(
        "other-lab",
        "other",
        """
        from medbench import Logger, hookimpl

        @hookimpl
        def medbench_loggers():
            return [Logger("chat", "chat", "To a chat room", "no_such_module: pip install chat")]
        """,
    )
    registry = discover()
    assert watchers_of(registry, []) == [Watcher("lab", "my_lab")]
    assert {logger.name for logger in registry.loggers} == {"tensorboard", "mlflow", "chat"}
    with pytest.raises(PluginError, match="no logger is called 'tensorbord'; did you mean 'tens"):
        watchers_of(registry, ["tensorbord"])
    with pytest.raises(PluginError, match=r"--log chat needs no_such_module, .*: pip install chat"):
        watchers_of(registry, ["chat"])
    monkeypatch.setenv("MEDBENCH_PLUGINS", "-lab")
    assert watchers_of(discover(), []) == []


def test_an_unknown_logger_is_refused_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(tiny_protocol())
    done = medbench("run", "--all", "--protocol", "tiny.toml", "--log", "nothing", cwd=tmp_path)
    assert done.status == 2
    assert done.err.startswith("medbench: no logger is called 'nothing'; there are mlflow, tens")
    assert not (tmp_path / "medbench-results").exists()


def test_records_of_events_are_frozen() -> None:
    for kind in (JobStarted, EpochEnded, JobEnded):
        assert kind.__dataclass_params__.frozen

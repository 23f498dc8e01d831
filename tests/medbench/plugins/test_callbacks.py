"""Callbacks, in real processes: they get every event, and nothing they do comes back."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
from commandline import alive, medbench, tiny_protocol
from shelf import Shelf

from medbench.errors import PluginError
from medbench.interfaces import EpochEnded, JobEnded, JobStarted
from medbench.interfaces.events import JobRequeued
from medbench.plugins.callbacks import Callback, Callbacks, callbacks_of
from medbench.plugins.registry import discover

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


@dataclass(frozen=True)
class Private:
    """An event that callbacks do not get."""

    text: str


def odd(code: str) -> str:
    return f"""
    from medbench import hookimpl

    @hookimpl
    def medbench_job_ended(event):
        {code}
    """


def ended(results: Path) -> JobEnded:
    return JobEnded("run", "k", "a label", {}, 1, "failed", "why", 1.0, "", str(results))


def test_each_event_reaches_its_hook_and_other_events_reach_none(
    shelf: Shelf, tmp_path: Path
) -> None:
    shelf.module("notes", NOTES)
    who = {"kind": "run", "key": "k" * 64, "label": "a label", "results": str(tmp_path)}
    axes = {"dataset": "a-dataset", "rate": 0.2, "seed": 3}
    end = {"state": "timeout", "reason": "too long", "seconds": 1.5, "record": ""}
    events = [
        JobStarted(**who, axes=axes, epochs=2, attempt=4, device="cpu"),
        Private("not for callbacks"),
        EpochEnded(**who, axes=axes, epoch=1, epochs=2),
        JobRequeued(**who, axes=axes, attempt=3, **end),
        JobEnded(**who, axes=axes, attempt=4, **end),
    ]
    callbacks = Callbacks([Callback("notes", "notes")], tmp_path / "logs", GRACE)
    for event in events:
        callbacks.tell(event)
    assert callbacks.close() == []
    found = [json.loads(line) for line in (tmp_path / "notes.jsonl").read_text().splitlines()]
    names = ["JobStarted", "EpochEnded", "JobEnded", "JobEnded"]
    sent = [asdict(event) for event in events if type(event) is not Private]
    assert found == [list(pair) for pair in zip(names, sent, strict=True)]


def test_a_run_tells_a_package_that_is_installed(shelf: Shelf, tmp_path: Path) -> None:
    shelf.install("my-lab", "lab", NOTES)
    (tmp_path / "tiny.toml").write_text(tiny_protocol())
    done = medbench("run", "--all", "--protocol", "tiny.toml", "--device", "cpu", cwd=tmp_path)
    assert (done.status, "callback" in done.err) == (0, False), done.err
    results = tmp_path / "medbench-results" / "tiny"
    lines = (results / "notes.jsonl").read_text().splitlines()
    names, events = zip(*map(json.loads, lines), strict=True)
    assert names == ("JobStarted", "EpochEnded", "EpochEnded", "JobEnded")
    started, _, epoch, end = events
    assert started["axes"] == end["axes"] == {
        "dataset": "pneumonia-mnist", "noise": "symmetric", "rate": 0.25, "pretext": "none",
        "method": "cross-entropy", "seed": 0,
    }  # fmt: skip
    assert (started["epochs"], started["attempt"], started["device"]) == (2, 1, "cpu")
    assert (epoch["epoch"], epoch["epochs"], epoch["label"]) == (2, 2, started["label"])
    assert (end["state"], end["reason"], end["kind"]) == ("done", "", "run")
    assert Path(end["record"]).is_file() and end["seconds"] > 0


def test_callbacks_of_nobody_start_nothing(tmp_path: Path) -> None:
    with Callbacks([], tmp_path / "logs") as callbacks:
        callbacks.tell(ended(tmp_path))
    assert not (tmp_path / "logs").exists()


def test_what_callbacks_do_wrong_is_one_line_each(shelf: Shelf, tmp_path: Path) -> None:
    chosen = []
    for name, code in ODD.items():
        shelf.module(name, odd(code))
        chosen.append(Callback(name, name))
    chosen += [Callback("absent", "no_such_module"), Callback("notes", "notes")]
    shelf.module("notes", NOTES)
    callbacks = Callbacks(chosen, tmp_path / "logs", GRACE)
    for _ in range(3):
        callbacks.tell(ended(tmp_path))
    lines = callbacks.close()
    told = {line.split()[1]: line for line in lines}
    assert set(told) == {"raises", "exits", "changes", "vanishes", "interrupts", "absent"}
    assert "failed 3 times, first: ValueError: first; the runs are unaffected" in told["raises"]
    assert "failed 3 times, first: SystemExit: 3" in told["exits"]
    assert "failed 3 times, first: FrozenInstanceError" in told["changes"]
    assert "ended its process with exit status 7" in told["vanishes"]
    assert "No module named 'no_such_module'" in told["absent"]
    assert all(line.isprintable() for line in lines)
    assert len((tmp_path / "notes.jsonl").read_text().splitlines()) == 3
    assert (tmp_path / "logs" / "prints.log").read_text().split() == ["printed"] * 3
    assert "Traceback" in (tmp_path / "logs" / "raises.log").read_text()


def test_a_callback_that_hangs_is_ended_with_what_it_started(shelf: Shelf, tmp_path: Path) -> None:
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
    callbacks = Callbacks([Callback("hangs", "hangs")], tmp_path / "logs", grace=1.0)
    began = time.monotonic()
    callbacks.tell(ended(tmp_path))
    assert time.monotonic() - began < 1.0, "nothing waits for a callback"
    while not (tmp_path / "pids").exists():
        assert time.monotonic() - began < 120
        time.sleep(0.05)
    (line,) = callbacks.close()
    assert "took longer than 1 s and was ended" in line
    for pid in (tmp_path / "pids").read_text().split():
        assert not alive(int(pid))


def test_a_slow_callback_delays_nothing(shelf: Shelf, tmp_path: Path) -> None:
    shelf.module("sleeps", odd("import time; time.sleep(1000)"))
    callbacks = Callbacks([Callback("sleeps", "sleeps")], tmp_path / "logs", grace=0.2)
    began = time.monotonic()
    for _ in range(20_000):  # 5 MB, more than a pipe holds
        callbacks.tell(ended(tmp_path))
    assert time.monotonic() - began < 30
    (line,) = callbacks.close()
    assert "took longer than 0.2 s and was ended" in line


def test_who_gets_events(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert callbacks_of(registry, []) == [Callback("lab", "my_lab")]
    assert set(registry.loggers) == {"tensorboard", "mlflow", "chat"}
    with pytest.raises(PluginError, match="no logger is called 'tensorbord'; did you mean 'tens"):
        callbacks_of(registry, ["tensorbord"])
    with pytest.raises(PluginError, match=r"--log chat needs no_such_module, .*: pip install chat"):
        callbacks_of(registry, ["chat"])
    monkeypatch.setenv("MEDBENCH_PLUGINS", "-lab")
    assert callbacks_of(discover(), []) == []


def test_an_unknown_logger_is_refused_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(tiny_protocol())
    done = medbench("run", "--all", "--protocol", "tiny.toml", "--log", "nothing", cwd=tmp_path)
    assert done.status == 2
    assert done.err.startswith("medbench: no logger is called 'nothing'; available: mlflow, tens")
    assert not (tmp_path / "medbench-results").exists()


def test_records_of_events_are_frozen() -> None:
    for kind in (JobStarted, EpochEnded, JobEnded):
        assert kind.__dataclass_params__.frozen

"""What is reported of an epoch while a run is trained is what its record says afterwards."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))

from commandline import tiny_protocol

import medbench
from medbench.interfaces.dataset import DataContext
from medbench.interfaces.events import EpochEnded, Event, JobEnded
from medbench.protocol.runs import expand
from medbench.runner.progress import Progress
from medbench.running import RunOptions, execute, open_protocol


def test_epochs_are_reported_with_the_scores_of_the_record(tmp_path: Path) -> None:
    file = tmp_path / "tiny.toml"
    file.write_text(tiny_protocol(pretexts=["rotation"]))
    context = DataContext(tmp_path / "cache")
    opened = open_protocol(str(file), context=context)
    runs = expand(opened.file, opened.registry, context)
    seen: list[Event] = []

    @contextmanager
    def view(progress: Progress) -> Iterator[Callable[[Event], None]]:
        yield seen.append

    options = RunOptions(tmp_path / "results", context.cache, device="cpu")
    execute(opened.registry, opened.file, runs, runs, options, view)
    epochs = [event for event in seen if isinstance(event, EpochEnded)]
    (pretrained,) = (event for event in epochs if event.kind == "pretraining")
    assert set(pretrained.scores) == {"pretraining/loss", "pretraining/accuracy"}
    trained = [event for event in epochs if event.kind == "run"]
    assert [event.epoch for event in trained] == [1, 2]
    results = medbench.load(tmp_path / "results")
    curves = results.curves.sort_values("epoch")
    for name in ("train/loss", "test/balanced_accuracy", "validation/balanced_accuracy"):
        reported = [event.scores[name] for event in trained]
        assert reported == pytest.approx(curves[name.replace("/", "_")].tolist()), name
    ended = [event for event in seen if isinstance(event, JobEnded)]
    assert [event.state for event in ended] == ["done", "done"]
    assert all(event.seconds > 0 for event in ended)

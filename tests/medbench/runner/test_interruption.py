"""Killed in every stage and resumed from checkpoints: the same bits as undisturbed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from carry import carry_out, digests_of
from commandline import install, medbench

from medbench.runner import scheduler
from medbench.runner.progress import Summary
from medbench.store.checkpoints import Checkpoints
from medbench.store.records import read_record
from medbench.store.results import ResultsFolder
from medbench.store.weights import read_weights

#: Some minutes: in .ci/run with the other slow tests.
pytestmark = pytest.mark.slow

PROTOCOL = """
name = "mortal"
images = {{ size = 16, train = 48, validation = 16, test = 24 }}
backbone = {{ name = "narrow", width = 8 }}
pretraining = {{ epochs = 3, batch_size = 24 }}
training = {{ epochs = 5, batch_size = 16 }}

[[grid]]
datasets = ["pneumonia-mnist"]
noise = ["symmetric"]
rates = [0.25]
pretexts = ["none"]
methods = ["in-warm-up", "later", "spoilt", "both-spoilt", "evaluator", "fixed", "edited"]
seeds = [0]

[[grid]]
datasets = ["pneumonia-mnist"]
noise = ["mortal-symmetric"]
rates = [0.25]
pretexts = ["none"]
methods = ["evaluated"]
seeds = [0]

[[grid]]
datasets = ["pneumonia-mnist"]
noise = ["symmetric"]
rates = [0.25]
pretexts = ["mortal-rotation", "curriculum"]
methods = ["cross-entropy"]
seeds = [0]

[pretexts.mortal-rotation]
notes = {notes}
dies_at = 4

[pretexts.curriculum]
steps = [
    {{ plugin = "rotation", dataset = "kather-texture-mini" }},
    {{ plugin = "mortal-rotation", dataset = "covid-qu-ex-mini", notes = {notes}, dies_at = 5 }},
]

[methods]
in-warm-up = {{ plugin = "mortal-dividemix", warmup_epochs = 2, notes = {notes}, dies_in = 1 }}
later = {{ plugin = "mortal-dividemix", warmup_epochs = 2, notes = {notes}, dies_in = 3 }}
spoilt = {{ plugin = "mortal-dividemix", warmup_epochs = 2, notes = {notes}, dies_in = 4 }}
both-spoilt = {{ plugin = "mortal-co-teaching", notes = {notes}, dies_in = 4 }}
evaluator = {{ plugin = "mortal-co-teaching", warmup_epochs = 3, notes = {notes}, dies_in = 2 }}
fixed = {{ plugin = "raises-once", notes = {notes}, dies_in = 3 }}
edited = {{ plugin = "mortal-edited", notes = {notes}, dies_in = 3 }}
evaluated = {{ plugin = "co-teaching" }}
"""

#: After which epoch each continues when resumed.
RESUMED = {
    "in-warm-up": [1],
    "later": [3],
    "spoilt": [3],  # not from the newest, after epoch 4
    "both-spoilt": [],
    "evaluator": [2],
    "fixed": [],  # what it did before it was fixed does not count
    "edited": [],  # nor what it did before it was edited
    "evaluated": [5],
}


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The plugins, as a distribution on sys.path; gives a folder for their protocol."""
    folder = tmp_path_factory.mktemp("mortal")
    names = ("mortal.py", "mortal_announced.py", "mortal_edited.py")
    files = {name: Path(__file__).with_name(name).read_text() for name in names}
    install(folder / "site", "medbench-mortal", "0.1", {"mortal": "mortal_announced"}, files)
    notes = json.dumps(str(folder / "notes"))
    (folder / "mortal.toml").write_text(PROTOCOL.format(notes=notes))
    (folder / "notes").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder / "site")
        yield folder


def run(folder: Path, results: str, **how: Any) -> Summary:
    limits = {"checkpoint_seconds": None, "checkpoint_epochs": 1, **how}
    return carry_out(folder / "mortal.toml", folder / results, **limits)


def spoil(checkpoints: Checkpoints) -> None:
    newest, _ = checkpoints.paths()
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 0x10
    newest.write_bytes(content)


def spoil_both(checkpoints: Checkpoints) -> None:
    newest, before = checkpoints.paths()
    newest.write_bytes(newest.read_bytes()[:-100])
    before.write_bytes(b"")


@pytest.fixture(scope="module")
def killed(mortal: Path) -> SimpleNamespace:
    """All killed once with two jobs at once, some checkpoints damaged, all resumed by one job."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scheduler, "REPEATS", 0)  # else it repeats what was killed by itself
        first = run(mortal, "results", jobs=2)
    results = ResultsFolder.open(mortal / "results")
    keys = {
        r.axes["method"] if r.axes["pretext"] == "none" else r.axes["pretext"]: r.key
        for r in results.plan()
    }
    spoil(results.checkpoints(keys["spoilt"]))
    spoil_both(results.checkpoints(keys["both-spoilt"]))
    kept = sorted(path.name for path in (results.root / "checkpoints").glob("*/*"))
    with (mortal / "site" / "mortal_edited.py").open("a") as source:
        source.write("# edited\n")
    second = run(mortal, "results", jobs=1, retry=True)
    return SimpleNamespace(first=first, second=second, results=results, keys=keys, kept=kept)


@pytest.fixture(scope="module")
def undisturbed(mortal: Path, killed: SimpleNamespace) -> ResultsFolder:
    """The same, once all that is to die has died."""
    outcome = run(mortal, "undisturbed", jobs=2, checkpoint_epochs=None)
    assert not outcome.failed
    return ResultsFolder.open(mortal / "undisturbed")


def test_all_were_killed_and_all_end_well(killed: SimpleNamespace) -> None:
    # the methods and two pretrainings
    assert (len(killed.first.failed), len(killed.first.skipped)) == (len(RESUMED) + 2, 2)
    assert not killed.second.failed
    assert not killed.second.skipped
    assert len(killed.second.done) == len(RESUMED) + 2 + 2
    assert medbench("verify", "--results", killed.results.root).status == 0


def test_every_digest_is_that_of_an_undisturbed_run(
    killed: SimpleNamespace, undisturbed: ResultsFolder
) -> None:
    found = digests_of(killed.results)
    assert len(found) == len(RESUMED) + 2
    assert found == digests_of(undisturbed)


@pytest.mark.parametrize("method", RESUMED)
def test_a_run_goes_on_after_the_epoch_of_its_checkpoint(
    killed: SimpleNamespace, method: str
) -> None:
    record = read_record(killed.results.record_path(killed.keys[method]))
    assert record.header.metadata["resumed"] == RESUMED[method]
    assert record.header.summary["epochs"] == 5


def test_a_pretraining_goes_on_in_each_step_of_a_curriculum(
    killed: SimpleNamespace, undisturbed: ResultsFolder
) -> None:
    paths = sorted((killed.results.root / "pretrainings").glob("*/*.safetensors"))
    weights = [read_weights(path) for path in paths]
    assert sorted(w.metadata["resumed"] for w in weights) == [[], [1], [2]]
    assert [w.digest() for w in weights] == [
        read_weights(undisturbed.pretraining_path(w.key)).digest() for w in weights
    ]


def test_what_a_method_asks_is_counted_once(
    killed: SimpleNamespace, undisturbed: ResultsFolder
) -> None:
    key = killed.keys["evaluator"]
    counts = [
        read_record(r.record_path(key)).header.summary["oracle"]
        for r in (killed.results, undisturbed)
    ]
    assert counts[0] == counts[1] == {"noise_rate": 2}


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("later", ["continues after epoch 3, from a checkpoint"]),
        ("spoilt", ["is damaged", "continues after epoch 3"]),
        ("both-spoilt", ["is damaged", "is damaged", "starts from its first epoch"]),
        ("edited", ["starts from its first epoch: the source of a plugin has changed"]),
    ],
)
def test_the_log_says_what_was_taken_up(
    killed: SimpleNamespace, method: str, said: list[str]
) -> None:
    log = killed.results.log_path(killed.keys[method], 2).read_text()
    place = 0
    for words in said:
        place = log.index(words, place) + 1


def test_checkpoints_go_once_the_record_is_there(killed: SimpleNamespace) -> None:
    assert killed.kept, "there were some"
    assert not [p for p in (killed.results.root / "checkpoints").rglob("*") if p.is_file()]

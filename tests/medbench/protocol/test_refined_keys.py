"""Runs that are refined: their keys, what they start from, filters, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from medbench.errors import ProtocolError
from medbench.interfaces import DataContext
from medbench.plugins.registry import discover
from medbench.protocol.changes import changed
from medbench.protocol.read import ProtocolFile, parse_protocol
from medbench.protocol.runs import Expansion, expand
from medbench.protocol.spec import RunSpec
from medbench.runner.plan import make_plan
from medbench.store.agreement import agreement
from medbench.store.results import ResultsFolder

REGISTRY = discover()

PLAIN = """
name = "refined"
[grid]
datasets = ["pneumonia-mnist"]
noise = ["symmetric"]
rates = [0.3]
pretexts = ["none", "rotation"]
methods = ["co-teaching", "small-loss"]
seeds = [0, 1]
{acquisitions}
[images]
size = 28
train = 48
[backbone]
name = "narrow"
{refinement}
"""
ACQUISITIONS = 'acquisitions = ["random", "badge"]'
REFINEMENT = "[refinement]\nrounds = 3\nbudget = 4\nepochs = 2"


def file(acquisitions: str = ACQUISITIONS, refinement: str = REFINEMENT) -> ProtocolFile:
    text = PLAIN.format(acquisitions=acquisitions, refinement=refinement)
    return ProtocolFile(Path("refined.toml"), text, parse_protocol(text, "refined.toml"))


def expansion(found: ProtocolFile | None = None, **only: list[str]) -> Expansion:
    return expand(found or file(), REGISTRY, DataContext(Path("nowhere")), only)


def test_runs_without_refinement_keep_their_keys_and_axes() -> None:
    plain, refined = expansion(file("", "")).runs, expansion().runs
    kept = [run for run in refined if run.refinement is None]
    assert [run.key for run in kept] == [run.key for run in plain]
    assert "refinement" not in plain[0].to_json() and "acquisition" not in plain[0].axes
    assert len(refined) == 3 * len(plain)


def test_a_refined_run_starts_from_the_run_that_it_refines() -> None:
    runs = expansion().runs
    by_key = {run.key: run for run in runs}
    for run in runs:
        if run.refinement is None:
            assert run.first_phase is None and run.start is run.pretraining
            continue
        first = by_key[run.start.key] if run.start else None
        assert first is not None and first == run.first_phase
        assert first.axes == {k: v for k, v in run.axes.items() if k != "acquisition"}
        assert run.epochs == 4 and run.last_epochs == 1
        assert RunSpec.from_json(run.to_json()) == run
        assert ("acquisition", run.refinement.acquisition) in run.plugins()
        assert f"+ {run.axes['acquisition']} seed" in run.label


@pytest.mark.parametrize(
    "changes", ["rounds = 2\nbudget = 4\nepochs = 2", "rounds = 3\nbudget = 5\nepochs = 2",
                "rounds = 3\nbudget = 4\nepochs = 1", REFINEMENT[13:] + "\nexpert_error = 0.1"]
)  # fmt: skip
def test_each_option_changes_the_keys_of_refined_runs_alone(changes: str) -> None:
    one, other = expansion(), expansion(file(refinement=f"[refinement]\n{changes}"))
    for a, b in zip(one.runs, other.runs, strict=True):
        assert (a.key == b.key) == (a.refinement is None)


def test_acquisition_functions_are_compared_within_the_same_settings() -> None:
    runs = [run for run in expansion().runs if run.axes["seed"] == 0 and run.refinement]
    agreed = [agreement(run.to_json()) for run in runs]
    assert len({each["settings"] for each in agreed}) == 1
    assert len({each["entrant_settings"] for each in agreed}) == len(runs)


def test_a_filter_keeps_what_is_refined(tmp_path: Path) -> None:
    found = expansion(acquisition=["badge"], method=["co-teaching"])
    assert {run.axes.get("acquisition") for run in found.runs} == {None, "badge"}
    assert {run.axes["method"] for run in found.runs} == {"co-teaching"}
    with pytest.raises(ProtocolError, match="no acquisition 'bald'; it has random, badge"):
        expansion(acquisition=["bald"])


def test_the_plan_trains_a_first_phase_again_whose_state_was_not_kept(tmp_path: Path) -> None:
    results = ResultsFolder.create(tmp_path, "refined")
    found = expansion(acquisition=["badge"], method=["co-teaching"])
    plain = [run for run in found.runs if run.refinement is None]
    for run in plain:
        path = results.record_path(run.key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    plan = make_plan(found, results, retry_failed=False)
    assert {run.key for run in plan.to_do} == {run.key for run in found.runs}
    assert plan.refined == {run.key for run in plain}
    for run in plain:
        path = results.phase_path(run.key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    plan = make_plan(found, results, retry_failed=False)
    assert {run.key for run in plan.to_do} == {run.key for run in found.runs if run.refinement}
    # asked for alone, a refined run brings what it starts from
    alone = Expansion(tuple(run for run in found.runs if run.refinement), {})
    assert len(make_plan(alone, None, retry_failed=False).to_do) == len(found.runs)


@pytest.mark.parametrize(
    ("acquisitions", "refinement", "said"),
    [
        (
            ACQUISITIONS,
            "[refinement]\nrounds = 7\nbudget = 7",
            "7 rounds of 7 labels are more than",
        ),
        ("", REFINEMENT, r"\[refinement\] belongs to nothing: no grid lists acquisitions"),
        (
            ACQUISITIONS,
            "[acquisitions.bald]\npasses = 3",
            "belongs to nothing in grid.acquisitions",
        ),
        ('acquisitions = ["bagde"]', REFINEMENT, "no acquisition is called 'bagde'.*badge"),
        ('acquisitions = ["bald"]', "[acquisitions.bald]\npasses = 1", "passes.*greater than"),
        (ACQUISITIONS, "[refinement]\nbudget = 0", "refinement.budget.*greater than"),
        (ACQUISITIONS, "[refinement]\nexpert_error = 1", "refinement.expert_error.*less than 1"),
    ],
)
def test_what_is_refused_in_one_line(acquisitions: str, refinement: str, said: str) -> None:
    with pytest.raises(Exception, match=said) as caught:
        expansion(file(acquisitions, refinement))
    assert "\n" not in str(caught.value).strip()


def test_a_budget_is_held_against_what_a_long_tail_leaves() -> None:
    tail = "[datasets.pneumonia-mnist]\nlong_tail = 40\n[refinement]\nrounds = 50\nbudget = 80"
    found = file(refinement=tail)
    text = found.text.replace("train = 48", "")
    found = ProtocolFile(found.path, text, parse_protocol(text, "refined.toml"))
    with pytest.raises(ProtocolError, match=r"are more than the 3\d\d\d training images"):
        expansion(found)


def test_an_acquisition_function_is_added_on_the_command_line() -> None:
    found = changed(file(), REGISTRY, ["bald", "calm=bald"], ["calm.passes=3"])
    names = {run.axes.get("acquisition") for run in expansion(found).runs}
    assert names == {None, "random", "badge", "bald", "calm"}
    plain = changed(file("", ""), REGISTRY, ["entropy"], ["refinement.budget=5"])
    assert {run.axes.get("acquisition") for run in expansion(plain).runs} == {None, "entropy"}

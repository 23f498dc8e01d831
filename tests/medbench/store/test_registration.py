"""Registrations: what was declared when, and that the chain shows every edit."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from medbench.errors import StoreError
from medbench.store.registration import (
    KEY_DIGITS,
    Declaration,
    changes,
    read_registrations,
    register,
    undeclared,
)
from medbench.store.results import PlannedRun, ResultsFolder

KEYS = {seed: hashlib.sha256(str(seed).encode()).hexdigest() for seed in range(4)}


def declaration(seeds: tuple[int, ...] = (0, 1), **statistics: object) -> Declaration:
    return Declaration(
        protocol="toy",
        protocol_sha256="0" * 64,
        statistics={"alpha": 0.05, "reading": "last", **statistics},
        runs={KEYS[s][:KEY_DIGITS]: f"data symmetric 0.4 none + method seed {s}" for s in seeds},
        versions={"medbench": "1"},
    )


def test_the_same_declaration_is_registered_once(tmp_path: Path) -> None:
    path = tmp_path / "registration.jsonl"
    first = register(path, declaration(), 0)
    assert register(path, declaration(), 2) == first
    (line,) = read_registrations(path)
    assert line.finished == 0
    assert line.hash == first
    # the hash is that of the line's bytes, so that anybody can compute it
    assert hashlib.sha256(path.read_bytes().rstrip(b"\n")).hexdigest() == first


def test_nothing_changed_after_the_first_result_is_nothing_to_report(tmp_path: Path) -> None:
    path = tmp_path / "registration.jsonl"
    register(path, declaration(), 0)
    register(path, declaration((0, 1, 2)), 0)  # no result yet: a new plan is no fault
    assert changes(read_registrations(path), [KEYS[0]]) == []


def test_changes_after_results_are_named(tmp_path: Path) -> None:
    path = tmp_path / "registration.jsonl"
    register(path, declaration(), 0)
    register(path, declaration((0, 1, 2), alpha=0.1), 7)
    register(path, declaration((0, 2), alpha=0.1), 9)
    found = changes(read_registrations(path), [])
    assert [(c.what, c.finished) for c in found] == [
        ("statistics", 7),
        ("added", 7),
        ("removed", 9),
    ]
    assert found[0].detail == "statistics.alpha was changed from 0.05 to 0.1"
    assert "seed 2" in found[1].detail or "2" in found[1].detail
    assert found[1].runs == {KEYS[2][:KEY_DIGITS]}
    assert found[2].runs == {KEYS[1][:KEY_DIGITS]}


def test_a_registration_made_after_the_results_is_none(tmp_path: Path) -> None:
    path = tmp_path / "registration.jsonl"
    assert changes([], [KEYS[0]])[0].what == "registration"
    register(path, declaration(), 120)
    (change,) = changes(read_registrations(path), [])
    assert (change.what, change.finished) == ("registration", 120)


def planned_folder(root: Path, seeds: tuple[int, ...], text: str = "") -> ResultsFolder:
    results = ResultsFolder.create(root, "toy")
    results.write_plan(text, [PlannedRun(KEYS[seed], {"seed": seed}) for seed in seeds])
    return results


def test_runs_taken_out_of_the_plan_are_named(tmp_path: Path) -> None:
    results = planned_folder(tmp_path / "results", (0, 1, 2, 3))
    declared = replace(declaration((0, 1, 2, 3)), protocol_sha256=hashlib.sha256(b"").hexdigest())
    register(results.registration_path, declared, 0)
    lines = read_registrations(results.registration_path)
    assert undeclared(results, lines) == []
    planned_folder(results.root, (0, 1, 2))
    (change,) = undeclared(results, lines)
    assert (change.what, change.runs) == ("removed", {KEYS[3][:KEY_DIGITS]})
    assert "1 run" in change.detail
    planned_folder(results.root, (0, 1, 2, 3), "# edited")
    (change,) = undeclared(results, lines)
    assert change.what == "protocol"


@pytest.mark.parametrize("edit", ["statistics", "drop", "truncate", "binary"])
def test_an_edited_line_breaks_the_chain(tmp_path: Path, edit: str) -> None:
    path = tmp_path / "registration.jsonl"
    for seeds in ((0,), (0, 1), (0, 1, 2)):
        register(path, declaration(seeds), 0)
    lines = path.read_text().splitlines()
    if edit == "statistics":
        values = json.loads(lines[0])
        values["declaration"]["statistics"]["alpha"] = 0.5
        lines[0] = json.dumps(values)
    elif edit == "drop":
        del lines[1]
    elif edit == "truncate":
        lines[2] = lines[2][:-10]
    path.write_text("\n".join(lines))
    if edit == "binary":
        path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StoreError, match=r"registration\.jsonl"):
        read_registrations(path)


def test_the_last_line_edited_alone_has_another_hash(tmp_path: Path) -> None:
    path = tmp_path / "registration.jsonl"
    before = register(path, declaration(), 0)
    edited = replace(read_registrations(path)[0], time="2000-01-01T00:00:00+00:00")
    assert edited.hash != before

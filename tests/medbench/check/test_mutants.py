"""The contract against itself: each rule catches a plugin that breaks it, and no sound one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mutants import IMPLIED, MUTANTS, SOUND, settings_of

from medbench.check import PluginUnderTest, check_rule, rules_of
from medbench.plugins.entries import Entry
from medbench.plugins.kinds import KINDS, kind_named
from medbench.plugins.markers import Plugin

RULES = [
    (kind, rule)
    for kind in ("plugin", *(kind.name for kind in KINDS))
    for rule in rules_of(kind)
    if rule.kind == kind
]


def subject(cls: type[Any], kind: str) -> PluginUnderTest:
    kind = "noise" if kind == "plugin" else kind
    plugin = Plugin(
        name="checked",
        target=f"{cls.__module__}:{cls.__qualname__}",
        summary=getattr(cls, "summary", "a plugin with one fault (nobody, 2020)"),
        interface=1,
    )
    entry = Entry(kind_named(kind), plugin, "mutants", "1")
    return PluginUnderTest(entry, settings_of(cls), Path("no-cache"))


def named(kind: str, name: str) -> Any:
    return next(rule for rule in rules_of(kind) if rule.name == name)


def test_every_rule_has_a_mutant_and_every_mutant_a_rule() -> None:
    assert {kind for kind, _ in RULES} == {"plugin", *(kind.name for kind in KINDS)}
    assert {(kind, rule.name) for kind, rule in RULES} == set(MUTANTS)


@pytest.mark.parametrize(("kind", "name"), MUTANTS, ids=lambda word: word)
def test_a_plugin_that_breaks_the_rule_is_caught_by_it(kind: str, name: str) -> None:
    outcome = check_rule(named(kind, name), subject(MUTANTS[kind, name], kind))
    assert outcome.state == "broken", outcome
    assert outcome.found, "and it says what came"


#: Without settings there is no plugin for the other rules to check_rule.
EXAMINED = [place for place in MUTANTS if place != ("plugin", "settings-default")]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), EXAMINED, ids=lambda word: word)
def test_a_plugin_that_breaks_the_rule_breaks_no_other(kind: str, name: str) -> None:
    """But for those that nobody can keep who breaks this one."""
    others = {
        rule.name
        for rule in rules_of("noise" if kind == "plugin" else kind)
        if (rule.kind, rule.name) != (kind, name)
        and check_rule(rule, subject(MUTANTS[kind, name], kind)).state == "broken"
    }
    assert others == IMPLIED.get((kind, name), set())


@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        # the executor without a fault is the local one, which is checked as a built-in plugin
        pytest.param(kind, rule, marks=[pytest.mark.slow] if kind == "executor" else [])
        for kind, rule in RULES
    ],
    ids=lambda x: getattr(x, "name", x),
)
def test_a_sound_plugin_keeps_the_rule(kind: str, rule: Any) -> None:
    cls = SOUND["noise" if kind == "plugin" else kind]
    outcome = check_rule(rule, subject(cls, kind))
    assert outcome.state == "kept" or rule.name == "presets", outcome


@pytest.mark.parametrize(("kind", "rule"), RULES, ids=lambda x: getattr(x, "name", x))
def test_a_rule_says_what_it_expects_why_and_how_to_fix_it(kind: str, rule: Any) -> None:
    for text in (rule.expects, rule.why, rule.fix):
        assert len(text) > 10 and "\n" not in text and "  " not in text
    assert (rule.why[0].isupper() or rule.why[0] == "`") and rule.why.endswith(".")
    assert rule.expects[0].islower() or rule.expects.startswith("K")

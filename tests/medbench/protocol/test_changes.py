"""Changing a protocol from the command line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from commandline import tiny_protocol

from medbench.errors import MedbenchError
from medbench.plugins.registry import Registry, discover
from medbench.protocol.changes import changed, unlisted
from medbench.protocol.read import ProtocolFile, parse_protocol


@pytest.fixture(scope="module")
def registry() -> Registry:
    return discover()


def file(text: str) -> ProtocolFile:
    return ProtocolFile(Path("tiny.toml"), text, parse_protocol(text, "tiny.toml"))


TINY = "# kept\n" + tiny_protocol("[methods.cross-entropy]", "[pretexts.none]")


def test_a_plugin_enters_the_grid_and_comments_stay(registry: Registry) -> None:
    found = changed(file(TINY), registry, ["dividemix"], [])
    assert found.protocol.grid[0].methods == ("cross-entropy", "dividemix")
    assert found.text.startswith("# kept\n")
    assert parse_protocol(found.text, "again") == found.protocol


def test_a_variant_is_listed_next_to_its_plugin(registry: Registry) -> None:
    additions = ["dividemix", "sharp=dividemix"]
    settings = ["sharp.temperature=0.1", "sharp.preset=paper"]
    found = changed(file(TINY), registry, additions, settings).protocol
    assert found.grid[0].methods == ("cross-entropy", "dividemix", "sharp")
    assert found.methods["sharp"] == {"plugin": "dividemix", "temperature": 0.1, "preset": "paper"}


def test_a_variant_joins_where_all_are_listed(registry: Registry) -> None:
    text = TINY.replace('methods = ["cross-entropy"]', 'methods = "*"')
    found = changed(file(text), registry, ["sharp=dividemix", "co-teaching"], [])
    everything = [entry.name for (axis, _), entry in registry.entries.items() if axis == "methods"]
    assert sorted(found.protocol.grid[0].methods) == sorted([*everything, "sharp"])


def test_every_grid_of_several_is_joined(registry: Registry) -> None:
    text = TINY.replace("[grid]", "[[grid]]") + TINY[TINY.index("[grid]") : TINY.index("[images]")]
    text = text.replace("[grid]", "[[grid]]").replace("[[[grid]]]", "[[grid]]")
    found = changed(file(text), registry, ["dividemix"], [])
    assert [grid.methods for grid in found.protocol.grid] == [("cross-entropy", "dividemix")] * 2


@pytest.mark.parametrize(
    ("setting", "read"),
    [
        ("training.epochs=7", lambda p: p.training.epochs == 7),
        ("training.optimiser.lr=1e-4", lambda p: p.training.optimiser.lr == 1e-4),
        ("grid.seeds=[3, 4]", lambda p: p.grid[0].seeds == (3, 4)),
        ("root_seed=9", lambda p: p.root_seed == 9),
        ("evaluation.primary=accuracy", lambda p: p.evaluation.primary == "accuracy"),
        ("symmetric.x=true", lambda p: p.noise["symmetric"] == {"x": True}),
        ("methods.cross-entropy.a.b=1", lambda p: p.methods["cross-entropy"] == {"a": {"b": 1}}),
    ],
)
def test_settings_are_read_as_toml(setting: str, read: object, registry: Registry) -> None:
    assert read(changed(file(TINY), registry, [], [setting]).protocol)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("additions", "settings", "words"),
    [
        (["dividmix"], [], "did you mean 'dividemix'?"),
        (["cross-entropy=dividemix"], [], "lists 'cross-entropy' already"),
        (["methods.rotation"], [], "no method is called 'rotation'"),
        ([], ["cross-entropie.x=1"], "did you mean 'cross-entropy'?"),
        ([], ["alpha"], "say NAME.KEY=VALUE"),
        ([], ["alpha=3"], "say NAME.KEY=VALUE"),
        ([], ["name.x=3"], "is no table"),
        ([], ["training.epochs=none"], "training.epochs"),
        ([], ["training.epoch=3"], "did you mean epochs?"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(
    additions: list[str], settings: list[str], words: str, registry: Registry
) -> None:
    with pytest.raises(MedbenchError) as caught:
        changed(file(TINY), registry, additions, settings)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_nothing_changed_is_the_same_file(registry: Registry) -> None:
    given = file(TINY)
    assert changed(given, registry, [], []) is given
    assert unlisted(given.protocol, registry, []) == []


def test_a_plugin_that_a_curriculum_names_does_not_join_the_grid_too(registry: Registry) -> None:
    entries = dict(registry.entries)
    for place in (("pretexts", "rotation"), ("datasets", "busi-mini")):
        entries[place] = replace(registry.entries[place], path="/own.py")
    own = replace(registry, entries=entries)
    step = '{ plugin = "rotation", dataset = "busi-mini" }'
    named = file(tiny_protocol(f"[pretexts.chain]\nsteps = [{step}]", pretexts=["chain"]))
    assert unlisted(named.protocol, own, [Path("/own.py")]) == []
    joining = unlisted(file(TINY).protocol, own, [Path("/own.py")])
    assert sorted(joining) == ["datasets.busi-mini", "pretexts.rotation"]

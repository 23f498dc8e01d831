"""Discovery and loading of plugins, with real modules behind real entry points."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from shelf import Shelf, announcing, collected

from medbench import INTERFACE_VERSION, Plugin
from medbench.errors import PluginError
from medbench.interfaces import (
    Acquisition,
    Backbone,
    Dataset,
    Executor,
    LNLMethod,
    NoiseModel,
    Pretext,
    Settings,
)
from medbench.plugins.kinds import KINDS, kind_named
from medbench.plugins.registry import Entry, Registry, discover
from medbench_plugins.noise.symmetric import SymmetricExclusive

NOISE = kind_named("noise")
PYPROJECT = Path(__file__).parents[3] / "pyproject.toml"

GOOD = """
    from medbench import Plugin, hookimpl

    @hookimpl
    def medbench_noise_models():
        return [Plugin("mine", "medbench_plugins.noise.symmetric:SymmetricExclusive", "Mine", 1)]
"""


def names(registry: Registry, word: str) -> list[str]:
    return [entry.name for entry in registry.of_kind(kind_named(word))]


def registered(point: EntryPoint) -> Registry:
    registry = Registry()
    registry.add(collected(point))
    return registry


def entry(**changes) -> Entry:
    values = {
        "name": "mine",
        "target": "medbench_plugins.noise.symmetric:SymmetricExclusive",
        "summary": "Mine",
        "interface": INTERFACE_VERSION,
    }
    return Entry(NOISE, Plugin(**{**values, **changes}), "my-lab", "1.2")


# ---------------------------------------------------------------- what is there


def test_built_ins_come_through_the_entry_points() -> None:
    registry = discover()
    assert registry.broken == []
    wanted = {
        "dataset": {"covid-qu-ex-mini", "pneumonia-mnist", "kather-texture-mini"},
        "noise": {"symmetric", "symmetric-inclusive", "pair-flip", "class-dependent"},
        "pretext": {"none", "rotation", "jigsaw", "jigmag", "simclr"},
        "method": {"cross-entropy", "co-teaching", "dividemix"},
        "backbone": {"resnet18", "narrow"},
        "acquisition": {"random", "entropy", "bald", "coreset", "badge"},
    }
    for kind, expected in wanted.items():
        found = registry.of_kind(kind_named(kind))
        assert expected <= {each.name for each in found}
        assert {each.distribution for each in found} == {"medbench"}
    assert "leaderboard" in registry.commands


@pytest.mark.parametrize(
    ("kind", "base"),
    [
        ("dataset", Dataset),
        ("noise", NoiseModel),
        ("pretext", Pretext),
        ("method", LNLMethod),
        ("backbone", Backbone),
        ("acquisition", Acquisition),
        ("executor", Executor),
    ],
)
def test_every_built_in_loads_and_its_lazy_settings_are_its_own(kind: str, base: type) -> None:
    for each in discover().of_kind(kind_named(kind)):
        found = each.load()
        assert issubclass(found, base)
        if base is not Executor:
            assert each.load_settings() is found.Settings
            assert isinstance(each.create(each.name, each.plugin.defaults), found)


def test_listing_and_checking_settings_import_no_torch() -> None:
    code = """
        import json, sys
        from medbench.plugins.kinds import KINDS
        from medbench.plugins.registry import discover
        registry = discover()
        listed = [entry.name for kind in KINDS for entry in registry.of_kind(kind)]
        at_listing = sorted({"torch", "h5py", "pydantic", "sklearn"} & set(sys.modules))
        for kind in KINDS:
            for entry in registry.of_kind(kind):
                entry.load_settings() if kind.name != "executor" else None
        print(json.dumps([listed, at_listing, "torch" in sys.modules]))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    listed, at_listing, torch_after_settings = json.loads(done.stdout)
    assert "dividemix" in listed
    assert at_listing == []
    assert not torch_after_settings


def test_kinds_are_named_in_singular_and_plural() -> None:
    for kind in KINDS:
        assert kind_named(kind.name) is kind_named(kind.axis) is kind
    with pytest.raises(
        PluginError, match=r"no kind of plugin is called 'optimizer'.*dataset, .*executor"
    ):
        kind_named("optimizer")


# ---------------------------------------------------------------- coming and going


def test_an_installed_plugin_appears_and_disappears(shelf: Shelf) -> None:
    before = names(discover(), "noise")
    shelf.install("my-lab", "lab", GOOD)
    registry = discover()
    found = registry.get(NOISE, "mine")
    assert (found.distribution, found.version) == ("my-lab", "1.2")
    assert found.load() is SymmetricExclusive
    assert names(registry, "noise") == sorted([*before, "mine"])
    assert registry.broken == []

    for path in (shelf.folder / "my_lab-1.2.dist-info").iterdir():
        path.unlink()
    (shelf.folder / "my_lab-1.2.dist-info").rmdir()
    assert names(discover(), "noise") == before
    with pytest.raises(PluginError, match="no noise is called 'mine'"):
        discover().get(NOISE, "mine")


def test_defaults_let_one_class_serve_several_names(shelf: Shelf) -> None:
    shelf.install(
        "my-lab",
        "lab",
        announcing(
            'tuple(Plugin(n, "medbench_plugins.backbones.narrow:Narrow", "", 1,'
            ' defaults={"width": w}) for n, w in (("thin", 8), ("thick", 32)))',
            "medbench_backbones",
        ),
    )
    registry = discover()
    target = registry.get(kind_named("backbone"), "narrow").plugin.target
    for name, width in (("thin", 8), ("thick", 32)):
        found = registry.get(kind_named("backbone"), name)
        assert found.plugin.target == target
        assert found.create(name, found.plugin.defaults).settings.width == width


def test_environment_blocks_and_limits(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.install("my-lab", "lab", GOOD)
    shelf.install("other-lab", "other", GOOD.replace('"mine"', '"theirs"'))
    own = set(names(discover(), "noise")) - {"mine", "theirs"}
    for value, expected in {
        "": own | {"mine", "theirs"},
        "lab": own | {"mine"},
        " lab , other ": own | {"mine", "theirs"},
        "-lab": own | {"theirs"},
        "-builtins": {"mine", "theirs"},
        "other,-builtins": {"theirs"},
        "nobody": own,
    }.items():
        monkeypatch.setenv("MEDBENCH_PLUGINS", value)
        assert set(names(discover(), "noise")) == expected, value


def test_a_blocked_package_is_not_even_imported(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.install("my-lab", "lab", 'raise RuntimeError("imported")')
    assert [fault.entry_point for fault in discover().broken] == ["lab"]
    monkeypatch.setenv("MEDBENCH_PLUGINS", "-lab")
    assert discover().broken == []


# ---------------------------------------------------------------- clashes


def test_a_clash_names_both_sides_and_the_built_in_stays(shelf: Shelf) -> None:
    shelf.install("a-lab", "aaa", GOOD.replace('"mine"', '"symmetric"'), version="9.9")
    registry = discover()
    (fault,) = registry.broken
    assert (fault.entry_point, fault.distribution) == ("aaa", "a-lab")
    version = registry.get(NOISE, "pair-flip").version
    for word in ("'symmetric'", "a-lab 9.9", f"medbench {version}", "rename one"):
        assert word in fault.reason
    assert registry.get(NOISE, "symmetric").distribution == "medbench"


def test_one_name_may_serve_two_kinds(shelf: Shelf) -> None:
    shelf.install("my-lab", "lab", GOOD.replace('"mine"', '"rotation"'))
    registry = discover()
    assert registry.broken == []
    assert "rotation" in names(registry, "noise") and "rotation" in names(registry, "pretext")


def test_two_packages_protocols_of_one_name_clash(shelf: Shelf) -> None:
    for lab in ("a-lab", "b-lab"):
        shelf.install(
            lab,
            lab,
            f"""
            from pathlib import Path
            from medbench import hookimpl

            @hookimpl
            def medbench_protocols():
                return [Path("/{lab}/tiny.toml"), Path("/{lab}/{lab}.toml")]
            """,
        )
    registry = discover()
    assert registry.protocols == {
        "tiny": Path("/a-lab/tiny.toml"),
        "a-lab": Path("/a-lab/a-lab.toml"),
        "b-lab": Path("/b-lab/b-lab.toml"),
    }
    (fault,) = registry.broken
    assert fault.distribution == "b-lab"
    assert "/a-lab/tiny.toml" in fault.reason and "/b-lab/tiny.toml" in fault.reason


def test_a_command_cannot_take_the_name_of_another(shelf: Shelf) -> None:
    shelf.install(
        "my-lab",
        "lab",
        announcing('[Command("leaderboard", "my_lab:x", "")]', "medbench_commands"),
    )
    registry = discover()
    target = registry.commands["leaderboard"].target
    assert target == "medbench_leaderboard.command:leaderboard"
    (fault,) = registry.broken
    assert "my_lab:x" in fault.reason and target in fault.reason


# ---------------------------------------------------------------- not found


def test_an_unknown_name_gets_the_nearest_or_the_list() -> None:
    registry = discover()
    with pytest.raises(PluginError) as near:
        registry.get(kind_named("method"), "dividmix")
    assert str(near.value) == "no method is called 'dividmix'; did you mean 'dividemix'?"
    with pytest.raises(PluginError) as far:
        registry.get(kind_named("method"), "zzz")
    assert str(far.value).startswith("no method is called 'zzz'; available: ")
    for name in names(registry, "method"):
        assert name in str(far.value)


def test_an_unknown_name_mentions_broken_packages(shelf: Shelf) -> None:
    registry = registered(shelf.point("torn", "import no_such_module"))
    with pytest.raises(PluginError, match=r"1 broken plugin, see `medbench list plugins`"):
        registry.get(NOISE, "mine")


# ---------------------------------------------------------------- wrong in itself


def test_a_class_of_another_kind_is_refused() -> None:
    wrong = entry(target="medbench_plugins.methods.cross_entropy:CrossEntropy")
    with pytest.raises(PluginError) as caught:
        wrong.load()
    for word in ("noise 'mine'", "my-lab 1.2", "CrossEntropy", "medbench.interfaces.NoiseModel"):
        assert word in str(caught.value)


@pytest.mark.parametrize("target", ["json:dumps", "medbench:__version__"])
def test_a_target_that_is_no_class_is_refused(target: str) -> None:
    with pytest.raises(PluginError, match="is not a subclass of NoiseModel"):
        entry(target=target).load()


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("no_such_module:X", "ModuleNotFoundError"),
        ("medbench_plugins.noise.symmetric:Nothing", "AttributeError"),
        ("medbench_plugins.noise.symmetric", "AttributeError"),
        ("", "ValueError"),
    ],
)
def test_a_target_that_cannot_be_imported_is_named(target: str, reason: str) -> None:
    with pytest.raises(PluginError) as caught:
        entry(target=target).load()
    assert f"noise 'mine' of my-lab 1.2 cannot be imported from {target}" in str(caught.value)
    assert reason in str(caught.value)


def test_a_target_that_exits_when_imported_is_named(shelf: Shelf) -> None:
    shelf.module("quitter", "raise SystemExit(3)")
    with pytest.raises(PluginError, match="SystemExit: 3"):
        entry(target="quitter:Noise").load()


@pytest.mark.parametrize(
    ("version", "cure"),
    [(INTERFACE_VERSION - 1, "update my-lab"), (INTERFACE_VERSION + 1, "update medbench")],
)
def test_another_interface_version_names_who_must_be_updated(version: int, cure: str) -> None:
    old = entry(interface=version, target="no_such_module:X", settings="no_such_module:S")
    for load in (old.load, old.load_settings, lambda: old.create("x", {})):
        with pytest.raises(PluginError) as caught:
            load()
        message = str(caught.value)
        assert message.endswith(f": {cure}")
        assert f"plugin interface {version}" in message
        assert f"has interface {INTERFACE_VERSION}" in message
        assert "my-lab" in message


def test_settings_are_imported_without_the_class(shelf: Shelf) -> None:
    shelf.module(
        "light",
        """
        from medbench.interfaces import Settings
        class Mine(Settings):
            strength: int = 3
        """,
    )
    shelf.module("heavy", "raise RuntimeError('imported')")
    lazy = entry(settings="light:Mine", target="heavy:Noise")
    assert lazy.load_settings()().strength == 3
    assert "heavy" not in sys.modules
    with pytest.raises(PluginError, match="RuntimeError: imported"):
        lazy.load()


def test_settings_that_are_none_are_refused(shelf: Shelf) -> None:
    with pytest.raises(PluginError, match=r"json:JSONDecoder is not a subclass of Settings"):
        entry(settings="json:JSONDecoder").load_settings()
    shelf.module(
        "loose",
        """
        from medbench_plugins.noise.symmetric import SymmetricExclusive
        class Loose(SymmetricExclusive):
            Settings = dict
        """,
    )
    with pytest.raises(PluginError, match=r"loose:Loose\.Settings is not a subclass of Settings"):
        entry(target="loose:Loose").load_settings()


def test_settings_come_from_the_class_where_nothing_else_is_said() -> None:
    assert issubclass(entry().load_settings(), Settings)
    assert entry().load_settings() is SymmetricExclusive.Settings


# ---------------------------------------------------------------- broken packages


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise SystemExit('no licence')", "SystemExit: no licence"),
        ("def broken(:", "SyntaxError"),
        (announcing("1 / 0"), "ZeroDivisionError: division by zero"),
        (announcing("exit(4)"), "SystemExit: 4"),
        (announcing("7"), "TypeError"),
        (announcing("['symmetric']"), "gave str 'symmetric'; it must give medbench.Plugin"),
        (announcing("[None]"), "it must give medbench.Plugin"),
        (announcing("[Plugin('Big Name', 'm:C', '', 1)]"), "'Big Name' is not made of lower-case"),
        (announcing("[Plugin('../x', 'm:C', '', 1)]"), "is not made of lower-case"),
        (announcing("[Plugin(7, 'm:C', '', 1)]"), "is not made of lower-case"),
        (announcing("[Plugin('x', 'm:C', '', '1')]"), "no valid interface or target"),
        (announcing("[Plugin('x', None, '', 1)]"), "no valid interface or target"),
        (announcing("[Plugin('x', 'm:C', None, 1)]"), "summary is None, not str"),
        (announcing("[Plugin('x', 'm:C', '', 1, defaults=[1])]"), "defaults is [1], not Mapping"),
        (announcing("[Plugin('x', 'm:C', '', 1, settings=int)]"), "not str"),
        (announcing("[Plugin('x', 'm:C', '', 1, revision='b')]"), "revision is 'b', not int"),
        (announcing("['tiny.toml']", "medbench_protocols"), "must give pathlib.Path"),
        (announcing("['mine']", "medbench_commands"), "must give medbench.Command"),
        (
            "from medbench import hookimpl\n@hookimpl\ndef medbench_datasets(wrong): ...",
            "PluginValidationError",
        ),
    ],
)
def test_what_a_broken_package_announces_is_left_out_with_the_reason(
    shelf: Shelf, code: str, reason: str
) -> None:
    registry = registered(shelf.point("aaa", code))
    (fault,) = registry.broken
    assert fault.entry_point == "aaa"
    assert reason in fault.reason
    assert "\n" not in fault.reason
    assert not registry.entries and not registry.commands and not registry.protocols


def test_the_sound_plugins_of_a_package_survive_an_ill_formed_one(shelf: Shelf) -> None:
    code = announcing("[None, Plugin('mine', 'm:C', '', 1), Plugin('NO', 'm:C', '', 1)]")
    registry = registered(shelf.point("mixed", code))
    assert names(registry, "noise") == ["mine"]
    assert len(registry.broken) == 2


def test_the_paper_to_cite_comes_through_as_announced(shelf: Shelf) -> None:
    code = announcing("[Plugin('mine', 'm:C', '', 1, citation='Doe J. Noise. 2020')]")
    registry = registered(shelf.point("cited", code))
    assert registry.get(NOISE, "mine").plugin.citation == "Doe J. Noise. 2020"
    wrong = registered(shelf.point("uncited", code.replace("'Doe J. Noise. 2020'", "2020")))
    assert "citation is 2020, not str" in wrong.broken[0].reason


def test_members_of_a_family_need_not_be_announced(shelf: Shelf) -> None:
    code = announcing("[Plugin('net', 'm:C', '', 1, defaults={'a': 1}, member='name')]")
    registry = registered(shelf.point("family", code))
    member = registry.get(NOISE, "net:resnet26.x").plugin
    assert (member.name, member.defaults) == ("net:resnet26.x", {"a": 1, "name": "resnet26.x"})
    assert registry.get(NOISE, "net").plugin.defaults == {"a": 1}
    for unknown in ("net:", "other:resnet26", ":resnet26"):
        with pytest.raises(PluginError, match="no noise is called"):
            registry.get(NOISE, unknown)
    wrong = registered(shelf.point("wrong", code.replace("'name'", "3")))
    assert "member is 3, not str" in wrong.broken[0].reason


def test_a_packages_hooks_are_called_once(shelf: Shelf) -> None:
    registry = Registry()
    for name in ("first", "second"):
        registry.add(collected(shelf.point(name, GOOD.replace('"mine"', f'"{name}"'))))
    assert registry.broken == []  # a second call would clash with itself
    assert names(registry, "noise") == ["first", "second"]


def test_an_entry_point_without_a_distribution_still_says_whose_it_is(shelf: Shelf) -> None:
    registry = registered(shelf.point("lonely", GOOD.replace("Plugin(", "Plugin(*", 1)))
    assert registry.broken[0].distribution == "an unknown distribution"


def test_an_interrupt_is_not_taken_for_a_fault(shelf: Shelf) -> None:
    with pytest.raises(KeyboardInterrupt):
        registered(shelf.point("slow", "raise KeyboardInterrupt"))


def test_a_misspelt_hook_is_named(shelf: Shelf) -> None:
    plugin = 'Plugin("mine", "m:C", "Mine", 1)'
    found = registered(shelf.point("lab", announcing(f"[{plugin}]", "medbench_noise_modles")))
    (fault,) = found.broken
    assert "medbench_noise_modles" in fault.reason
    assert not found.entries

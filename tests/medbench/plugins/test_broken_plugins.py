"""Broken distributions of all sorts, installed together: each is reported, none harms another."""

from __future__ import annotations

import os
import re
import sys
import textwrap
import time
from dataclasses import dataclass, fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from commandline import Ended, alive, digests, medbench, medbench_apart, tiny_protocol
from shelf import Shelf, announcing, collected

from medbench import Plugin
from medbench.errors import PluginError
from medbench.plugins.discovery import time_limit
from medbench.plugins.kinds import kind_named
from medbench.plugins.registry import Registry, discover

GOOD = announcing(
    '[Plugin("sound", "medbench_plugins.noise.symmetric:SymmetricExclusive", "Sound", 1)]'
)
#: Seconds for packages that do not hang, on a machine however busy.
PATIENT = "250"
ESCAPE = "\x1b[31mred\x07\x1b]0;title\x07"
CELL = "medbench_plugins.noise.symmetric:SymmetricExclusive"


def noise(name: str = "x", target: str = CELL, summary: str = "", interface: str = "1") -> str:
    return announcing(f"[Plugin({name!r}, {target!r}, {summary!r}, {interface})]")


def with_class(code: str, kind: str, name: str) -> str:
    """Return the code of a module that announces a class, and after CLASS that of the class's."""
    hooks = textwrap.dedent(announcing(f"[Plugin({name!r}, 'MODULE_class:Mine', '', 1)]", kind))
    return f"{hooks}CLASS\nfrom medbench.interfaces import *\n{code}"


METHOD = """
class Mine(LNLMethod):
    def start(self, task): ...
    def predict(self, images): ...
"""


@dataclass(frozen=True)
class Case:
    """A broken package and what must be said of it; ``kind`` where one plugin is at fault."""

    code: str
    reason: str
    kind: str = ""


CASES = {
    "import-error": Case("import no_such_module", "ModuleNotFoundError: No module named 'no_such"),
    "missing-name": Case("from medbench import NoSuchThing", "ImportError: cannot import name"),
    "syntax": Case("def broken(:", "SyntaxError: "),
    "not-utf8": Case("NOT UTF-8", "SyntaxError: "),
    "division": Case("1 / 0", "ZeroDivisionError: division by zero"),
    "recursion": Case("def f(): f()\nf()", "RecursionError: maximum recursion depth"),
    "sys-exit": Case("import sys\nsys.exit('no licence')", "SystemExit: no licence"),
    "exit-zero": Case("raise SystemExit(0)", "SystemExit: 0"),
    "sabotages": Case(
        "import json\njson.dumps = None\n" + textwrap.dedent(GOOD).replace("sound", "saboteur"),
        "noise 'saboteur' is invalid: defaults are not plain JSON",
        "noise",
    ),
    "os-exit": Case("import os\nos._exit(0)", "ended its process with exit status 0"),
    "killed": Case("import os\nos.kill(os.getpid(), 9)", "ended its process by signal 9"),
    "kills-group": Case("import os\nos.killpg(0, 9)", "ended its process by signal 9"),
    "interrupt": Case("raise KeyboardInterrupt", "KeyboardInterrupt"),
    "base-exception": Case("class Odd(BaseException): ...\nraise Odd('odd')", "Odd: odd"),
    "wordless": Case(
        "class Mute(Exception):\n    def __str__(self): raise ValueError\nraise Mute", "Mute"
    ),
    "escape": Case(f"raise ValueError({ESCAPE!r})", r"ValueError: \x1b[31mred\x07\x1b]0;title"),
    "many-lines": Case("raise ValueError('one\\ntwo\\nthree')", "ValueError: one"),
    "long-reason": Case("raise ValueError('x' * 1000000)", "ValueError: xxx"),
    "wrong-arity": Case(
        "from medbench import hookimpl\n@hookimpl\ndef medbench_datasets(wrong): ...",
        "PluginValidationError",
    ),
    "misspelt": Case(announcing("[]", "medbench_noise_modles"), "medbench_noise_modles"),
    "returns-none": Case(announcing("None"), "medbench_noise_models returns None; it must"),
    "returns-number": Case(announcing("7"), "TypeError: 'int' object is not iterable"),
    "raises-in-hook": Case(announcing("1 / 0"), "ZeroDivisionError: division by zero"),
    "generator-raises": Case(announcing("(1 / 0 for _ in 'x')"), "ZeroDivisionError"),
    "endless": Case(announcing("iter(int, 1)"), "returns more than 1000 things"),
    "not-a-plugin": Case(announcing("['symmetric']"), "gave str 'symmetric'; it must", "noise"),
    "bad-repr": Case(
        announcing("[type('Odd', (), {'__repr__': lambda self: 1 / 0})()]"),
        "something whose repr fails (ZeroDivisionError)",
        "noise",
    ),
    "record-types": Case(
        announcing("[Plugin('x', 7, '', 1)]"), "has no valid interface or", "noise"
    ),
    "bool-interface": Case(noise("x", interface="True"), "no valid interface", "noise"),
    "defaults": Case(
        announcing(f"[Plugin('x', '{CELL}', '', 1, defaults={{'a': object()}})]"),
        "defaults are not plain JSON values",
        "noise",
    ),
    "duplicate": Case(noise("symmetric"), "'symmetric' of the-duplicate 1.2 clashes", "noise"),
    "old-interface": Case(noise("x", interface="0"), "interface 0, this medbench", "noise"),
    "new-interface": Case(noise("x", interface="99"), "interface 1: update medbench", "noise"),
    "name-escape": Case(noise(ESCAPE), r"noise name '\x1b[31mred", "noise"),
    "name-path": Case(noise("../../etc/passwd"), "'../../etc/passwd' is not made of", "noise"),
    "name-html": Case(noise("<script>alert(1)</script>"), "is not made of lower-case", "noise"),
    "name-not-ascii": Case(noise("gеräusch"), "is not made of lower-case", "noise"),
    "name-empty": Case(noise(""), "is not made of lower-case", "noise"),
    "name-long": Case(noise("x" * 500), "has 500 characters; at most 64", "noise"),
    "no-module": Case("POINT no_such_module_at_all", "ModuleNotFoundError"),
    "no-object": Case("POINT json:nothing", "AttributeError"),
    "empty-point": Case("POINT :", "ValueError"),
    "no-class": Case(
        noise("x", "medbench_plugins.noise.symmetric:Nothing"), "AttributeError", "noise"
    ),
    "no-target": Case(noise("x", "gone_away:Nothing"), "No module named 'gone_away'", "noise"),
    "wrong-base": Case(
        noise("x", "medbench_plugins.methods.cross_entropy:CrossEntropy"),
        "is not a subclass of NoiseModel; derive it from",
        "noise",
    ),
    "a-function": Case(noise("x", "json:dumps"), "is not a subclass of NoiseModel", "noise"),
    "wrong-settings": Case(
        announcing(f"[Plugin('x', '{CELL}', '', 1, settings='json:JSONDecoder')]"),
        "json:JSONDecoder is not a subclass of Settings",
        "noise",
    ),
    "wrong-defaults": Case(
        announcing(f"[Plugin('x', '{CELL}', '', 1, defaults={{'no_such': 3}})]"),
        "defaults: no_such: Extra inputs are not permitted",
        "noise",
    ),
    "abstract": Case(
        with_class(METHOD, "medbench_methods", "half-done"), "Mine lacks train_epoch", "method"
    ),
    "method-arity": Case(
        with_class(METHOD + "    def train_epoch(self): ...\n", "medbench_methods", "forgetful"),
        "Mine.train_epoch cannot be called as train_epoch(epoch)",
        "method",
    ),
    "protocol-name": Case(
        announcing(f"[__import__('pathlib').Path({ESCAPE!r} + '.toml')]", "medbench_protocols"),
        "is not made of lower-case",
    ),
}

HANGING = {
    "hangs": "import time\nwhile True: time.sleep(1)",
    "hangs-stubbornly": """
        import signal, time
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
            signal.signal(number, signal.SIG_IGN)
        while True:
            try: time.sleep(1)
            except BaseException: pass
    """,
    "leaves-a-process": """
        import os, time
        if os.fork() == 0:
            os.setsid()
            time.sleep(60)
            os._exit(0)
        os._exit(0)
    """,
}

#: Not broken, but rude: what they do stays with them.
RUDE = {
    "prints": "import os\nprint('I am here')\nos.write(1, b'here')\nos.write(2, b'and here')",
    "patches": "import builtins, random\nrandom.random = builtins.print = None\n",
    "moves": "import os\nos.chdir('/')\nos.environ.clear()\n",
    "threads": "import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()\n",
}


def rude(name: str, code: str) -> str:
    good = announcing(f'[Plugin("rude-{name}", "{CELL}", "Rude", 1)]')
    return textwrap.dedent(good) + code


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all broken and rude distributions and a sound one."""
    folder = tmp_path_factory.mktemp("crowd")
    with pytest.MonkeyPatch.context() as patch:
        shelf = Shelf(folder, patch)
        for name, case in CASES.items():
            lay(shelf, f"the-{name}", name, case.code)
        for name, code in RUDE.items():
            lay(shelf, f"rude-{name}", f"rude-{name}", rude(name, code))
        lay(shelf, "zz-sound", "zz-sound", GOOD)
    return folder


def lay(shelf: Shelf, distribution: str, point: str, code: str) -> None:
    if code.startswith("POINT "):
        shelf.lay(distribution, point, code.removeprefix("POINT "))
        return
    module = distribution.replace("-", "_")
    hooks, _, science = code.replace("MODULE", module).partition("CLASS\n")
    shelf.install(distribution, point, hooks)
    if science:
        shelf.module(f"{module}_class", science)
    if code == "NOT UTF-8":
        (shelf.folder / f"{module}.py").write_bytes(b"name = '\xff\xfe'")


@pytest.fixture(scope="module")
def looked(crowd: Path) -> SimpleNamespace:
    """What a thorough look finds; it leaves this process as it was."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDBENCH_PLUGIN_TIMEOUT", PATIENT)
        patch.syspath_prepend(crowd)
        before = set(sys.modules), list(sys.path), dict(os.environ), Path.cwd()
        registry = discover(thorough=True)
        after = set(sys.modules), list(sys.path), dict(os.environ), Path.cwd()
    assert before[1:] == after[1:]
    assert not {name for name in after[0] - before[0] if name.startswith(("the_", "rude_", "zz_"))}
    return SimpleNamespace(registry=registry)


def built_in() -> set[tuple[str, str]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDBENCH_PLUGINS", "builtins,board")
        return set(discover().entries)


@pytest.mark.parametrize("name", CASES)
def test_each_is_told_in_one_line(looked: SimpleNamespace, name: str) -> None:
    case = CASES[name]
    found = [fault for fault in looked.registry.broken if fault.distribution == f"the-{name}"]
    assert len(found) == 1
    (fault,) = found
    assert case.reason in fault.reason
    assert (fault.entry_point, fault.version, fault.kind) == (name, "1.2", case.kind)
    assert fault.reason.isprintable(), "no line break and no control character"
    assert len(fault.reason) < 700


def test_everything_else_is_there(looked: SimpleNamespace) -> None:
    own = built_in()
    rest = {("noise", f"rude-{name}") for name in RUDE} | {("noise", "sound")}
    assert set(looked.registry.entries) == own | rest
    assert len(looked.registry.broken) == len(CASES)
    sound = looked.registry.get(kind_named("noise"), "sound")
    assert (sound.distribution, sound.version) == ("zz-sound", "1.2")
    assert sound.file.endswith("zz_sound.py")


def test_rudeness_is_noted_where_it_can_be_seen(looked: SimpleNamespace) -> None:
    def notes(name: str) -> tuple[str, ...]:
        return looked.registry.get(kind_named("noise"), name).notes

    assert "prints when imported" in notes("rude-prints")
    assert "prints when imported" not in notes("sound")


def test_listing_is_unaffected(crowd: Path, tmp_path: Path) -> None:
    there: Any = {"path": [crowd], "MEDBENCH_PLUGIN_TIMEOUT": PATIENT}
    alone = medbench_apart("list", "pretexts", "--json", cwd=tmp_path)
    crowded = medbench_apart("list", "pretexts", "--json", cwd=tmp_path, **there)
    assert (crowded.status, crowded.out) == (0, alone.out)
    assert alone.err == ""
    # those found broken when their class is looked at are not known of yet
    *_, line = crowded.err.splitlines()  # before it, what was waited for
    assert re.fullmatch(r"\d+ broken plugins left out; `medbench list plugins` says why", line)

    listed = medbench_apart("list", "plugins", cwd=tmp_path, **there)
    assert listed.status == 0
    lines = listed.out.split("\n")
    assert "".join(lines).isprintable()
    assert any("zz-sound" in line and "zz_sound.py" in line for line in lines)
    for name, case in CASES.items():
        (line,) = (line for line in lines if f"the-{name} 1.2:" in line)
        assert case.reason in line
    assert any("SystemExit: no licence" in line and "the_sys_exit.py" in line for line in lines)


def test_a_run_is_unaffected(crowd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(name: str, *noise: str) -> Ended:
        file = tmp_path / "tiny.toml"
        file.write_text(tiny_protocol(noise=noise))
        results = tmp_path / name
        return medbench("run", "--all", "--protocol", file, "--results", results, "--device", "cpu")

    assert run("alone", "symmetric").status == 0
    monkeypatch.setenv("MEDBENCH_PLUGIN_TIMEOUT", PATIENT)
    monkeypatch.syspath_prepend(crowd)
    ended = run("crowded", "symmetric", "sound")
    assert ended.status == 0, ended.err
    assert "2 runs done now" in ended.err
    (wanted,) = digests(tmp_path / "alone").items()
    assert wanted in digests(tmp_path / "crowded").items()


def test_a_star_takes_all_that_is_sound(tmp_path: Path, shelf: Shelf) -> None:
    shelf.install("the-lab", "lab", noise("unclassed", "gone_away:Nothing"))
    shelf.install("the-sound", "sound", GOOD)
    text = tiny_protocol().replace('noise = ["symmetric"]', 'noise = "*"')
    assert 'noise = "*"' in text
    (tmp_path / "tiny.toml").write_text(text)
    ended = medbench(
        *("run", "--all", "--protocol", "tiny.toml", "--noise", "sound", "--dry-run", "--json"),
        cwd=tmp_path,
    )
    assert ended.status == 0, ended.err
    assert ended.json["runs"] == 1
    (line,) = (line for line in ended.err.splitlines() if line.startswith("left out"))
    assert line.startswith("left out: the-lab: noise 'unclassed' of the-lab 1.2 cannot be imported")


def test_what_hangs_is_given_up(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, code in HANGING.items():
        shelf.install(name, name, code)
    shelf.install("sound", "sound", GOOD)
    monkeypatch.setenv("MEDBENCH_PLUGIN_TIMEOUT", "6")
    began = time.monotonic()
    registry = discover()
    assert time.monotonic() - began < 60
    told = {fault.distribution: fault.reason for fault in registry.broken}
    assert set(told) == set(HANGING)
    for name in ("hangs", "hangs-stubbornly"):
        assert told[name] == "took longer than 6 s and was ended"
    assert registry.get(kind_named("noise"), "sound").distribution == "sound"


def test_a_slow_import_is_noted(shelf: Shelf) -> None:
    shelf.install("slow", "slow", "import time\ntime.sleep(1.2)\n" + textwrap.dedent(GOOD))
    (note,) = discover().get(kind_named("noise"), "sound").notes
    assert re.fullmatch(r"takes \d+\.\d s to import", note)


def test_the_time_limit_must_be_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in ("soon", "0", "-1", "nan"):
        monkeypatch.setenv("MEDBENCH_PLUGIN_TIMEOUT", wrong)
        with pytest.raises(PluginError, match="MEDBENCH_PLUGIN_TIMEOUT is"):
            time_limit()


def test_a_broken_plugin_asked_for_by_name_gives_its_reason(looked: SimpleNamespace) -> None:
    with pytest.raises(PluginError, match="Mine lacks train_epoch"):
        looked.registry.get(kind_named("method"), "half-done")


def test_what_is_announced_shares_nothing_with_its_package(shelf: Shelf) -> None:
    point = shelf.point(
        "lab",
        f"""
        from medbench import Plugin, hookimpl
        defaults = {{"steps": [1, 2]}}

        @hookimpl
        def medbench_noise_models():
            return [Plugin("mine", "{CELL}", "", 1, defaults=defaults)]
        """,
    )
    registry = Registry()
    registry.add(collected(point))
    sys.modules["lab"].defaults["steps"].append(3)
    sys.modules["lab"].defaults["more"] = 1
    assert registry.get(kind_named("noise"), "mine").plugin.defaults == {"steps": [1, 2]}


def test_thirty_sound_packages_are_asked_once(shelf: Shelf, tmp_path: Path) -> None:
    notes = tmp_path / "imports"
    told = f"open({str(notes)!r}, 'a').write(__name__ + '\\n')\n"
    for number in range(30):
        code = told + textwrap.dedent(noise(f"noise-{number}"))
        shelf.install(f"lab-{number}", f"lab{number}", code)

    def found() -> set[str]:
        return {name for _, name in discover().entries if name.startswith("noise-")}

    wanted = {f"noise-{number}" for number in range(30)}
    assert found() == wanted
    discover()  # compiled files have appeared next to the modules, so they may be asked again
    asked = notes.read_text()
    assert found() == wanted
    assert notes.read_text() == asked, "nothing changed, so nobody is asked"

    shelf.module("lab_3", told + textwrap.dedent(noise("noise-three")))
    assert found() == wanted - {"noise-3"} | {"noise-three"}
    again = notes.read_text().removeprefix(asked).split()
    assert "lab_3" in again, "a changed file is asked for"
    (shelf.folder / "lab_4-1.2.dist-info" / "entry_points.txt").unlink()
    assert found() == wanted - {"noise-3", "noise-4"} | {"noise-three"}


def test_every_field_of_a_record_comes_through(shelf: Shelf) -> None:
    record = (
        f"Plugin(name='mine', target='{CELL}', summary='s', interface=1, revision=7, "
        "citation='A paper', defaults={'a': 1}, settings='m:S', member='a', "
        "family='robust loss')"
    )
    shelf.install("my-lab", "lab", announcing(f"[{record}]"))
    wanted = eval(record, {"Plugin": Plugin})  # noqa: S307 - the text above
    assert {f.name for f in fields(Plugin) if getattr(wanted, f.name) == f.default} == set()
    assert discover().get(kind_named("noise"), "mine").plugin == wanted


def test_a_registry_passes_between_processes(looked: SimpleNamespace) -> None:
    assert Registry.from_json(looked.registry.to_json()) == looked.registry


def test_a_library_that_packages_import_is_imported_once_for_later_ones(
    shelf: Shelf, tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    code = f"""
        import sys
        with open({str(notes)!r}, "a") as file:
            file.write(f"{{'scipy' in sys.modules}}\\n")
        import scipy
    """
    first = len(os.sched_getaffinity(0)) + 2
    for number in range(first + 3):
        shelf.install(f"lab-{number}", f"lab{number}", code)
    assert discover().broken == []
    told = notes.read_text().split()
    assert len(told) == first + 3
    assert told[0] == "False" and told[-1] == "True"


def test_what_a_package_started_ends_with_it(shelf: Shelf, tmp_path: Path) -> None:
    code = f"""
        import subprocess
        child = subprocess.Popen(["sleep", "600"])
        with open({str(tmp_path / "pid")!r}, "w") as file:
            file.write(str(child.pid))
    """
    shelf.install("starts", "starts", code)
    assert discover().broken == []
    pid = int((tmp_path / "pid").read_text())
    waited = time.monotonic()
    while alive(pid):
        assert time.monotonic() - waited < 30
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os\nfor n in range(3, 200):\n    try: os.write(n, b'nonsense\\n')\n"
         "    except OSError: pass", "gave no readable answer"),
        ("import os\nos.closerange(3, 200)", "ended its process with exit status 0"),
    ],
)  # fmt: skip
def test_nonsense_through_the_pipe_is_a_fault(shelf: Shelf, code: str, reason: str) -> None:
    shelf.install("writes", "writes", code)
    shelf.install("sound", "sound", GOOD)
    registry = discover()
    assert registry.get(kind_named("noise"), "sound").distribution == "sound"
    (fault,) = registry.broken
    assert (fault.distribution, fault.reason) == ("writes", reason)

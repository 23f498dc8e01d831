"""Plugins without packaging: a Python file or a folder, for the first hour.

A file or folder named by ``--plugin`` or in ``MEDBENCH_PLUGIN_PATH`` is used as if it
were an installed distribution called ``file:NAME``, whose version is the hash of its
content: an edited file has other run keys.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import os
import re
import sys
import tomllib
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import medbench
from medbench.errors import PluginError
from medbench.plain import format_error
from medbench.plugins.collect import collect
from medbench.plugins.kinds import KINDS, Kind
from medbench.plugins.manifest import EntryPointInfo, Fault, Manifest
from medbench.plugins.markers import PROJECT, Plugin, hookimpl

#: Environment variable with paths, separated as in ``PATH``; job processes inherit it.
VARIABLE = "MEDBENCH_PLUGIN_PATH"

#: Bytes of a plugin's folder at most; data belong elsewhere.
_MOST_BYTES = 64 * 1024**2

#: Folders that hold no code of the plugin.
_PASSED_OVER = {"__pycache__", "tests", "node_modules"}

#: Endings of class names that say no more than the kind does.
_ENDINGS = re.compile(r"-(method|pretext|noise|noise-model|dataset|backbone|acquisition|executor)$")


@dataclass(frozen=True)
class LocalCode:
    """The code at a path.

    Parameters
    ----------
    path : pathlib.Path
        The file or folder.
    root : pathlib.Path
        The folder that is put on ``sys.path``.
    modules : tuple of (str, str)
        Each module with hooks or plugins: its name in messages and its import name.
    version : str
        The first 12 digits of the SHA-256 over its files.
    """

    path: Path
    root: Path
    modules: tuple[tuple[str, str], ...]
    version: str


def local_paths() -> list[Path]:
    """Return the paths in ``MEDBENCH_PLUGIN_PATH``."""
    return [Path(word) for word in os.environ.get(VARIABLE, "").split(os.pathsep) if word]


@contextmanager
def plugin_files(paths: Sequence[Path]) -> Iterator[None]:
    """Let this process and its job processes find the plugins of files and folders."""
    before = os.environ.get(VARIABLE)
    words = [*(before or "").split(os.pathsep), *(str(path.absolute()) for path in paths)]
    os.environ[VARIABLE] = os.pathsep.join(dict.fromkeys(filter(None, words)))
    try:
        yield
    finally:
        del os.environ[VARIABLE]
        if before is not None:
            os.environ[VARIABLE] = before


def collect_local(path: Path) -> list[Manifest]:
    """Import the code at a path in this process and collect what it provides.

    A module without hooks provides the plugin classes that it defines.

    Returns
    -------
    list of Manifest
        With a fault, which names the file, where something is wrong.
    """
    try:
        code = read_code(path)
    except PluginError as error:
        point = EntryPointInfo(path.stem, "", f"file:{path.name}", "", str(path))
        return [Manifest(point, file=str(path), faults=(Fault(str(error)),))]
    found = []
    for name, module in code.modules:
        where = (f"file:{code.path.name}", code.version, str(code.path))
        point = EntryPointInfo(name, module, *where)
        try:
            _add_hooks(_import_module(code, point.value))
            found.append(collect(point))
        except PluginError as error:
            found.append(Manifest(point, file=str(path), faults=(Fault(str(error)),)))
    providing = [each for each in found if each.plugins or each.protocols or each.commands]
    return providing or [each for each in found if each.faults] or [_empty(code, found)]


def import_local(path: Path, version: str) -> None:
    """Import the code at a path, so that its classes can be imported by name.

    Raises
    ------
    PluginError
        If it cannot be imported, or has changed since ``version`` was read.
    """
    code = read_code(path)
    if code.version != version:
        raise PluginError(
            f"{path} has changed since the runs were planned ({version}, now {code.version}); "
            "start the command again"
        )
    for _, module in code.modules:
        _import_module(code, module)


def read_code(path: Path) -> LocalCode:
    """Find the code of a file or folder without importing it.

    Raises
    ------
    PluginError
        If there is nothing that could be imported.
    """
    path = path.absolute()
    if path.is_file():
        if path.suffix != ".py":
            raise PluginError(f"{path} is not a Python file; a plugin is FILE.py or a folder")
        version = _version(path.parent, [path])
        stem = re.sub(r"\W", "_", path.stem)
        # imported under another name, so that a file called json.py hides nothing
        return LocalCode(path, path.parent, ((path.stem, f"medbench_{stem}_{version}"),), version)
    if not path.is_dir():
        raise PluginError(f"there is no plugin file or folder {path}")
    if points := _entry_points(path / "pyproject.toml"):
        root = path / "src" if (path / "src").is_dir() else path
        tops = {module.partition(".")[0] for _, module in points}
        of_tops = (file for top in tops for file in _files_of(root, top))
        files = sorted({*_files_below(root, "*.py"), *of_tops})
        return LocalCode(path, root, tuple(points), _version(root, files))
    if (path / "__init__.py").is_file():
        version = _version(path.parent, list(_files_of(path.parent, path.name)))
        return LocalCode(path, path.parent, ((path.name, path.name),), version)
    files = sorted(file for file in path.glob("*.py") if file.stem.isidentifier())
    if not files:
        raise PluginError(
            f"{path} contains no plugin: no pyproject.toml with [project.entry-points.medbench], "
            "no __init__.py and no Python file"
        )
    modules = tuple((file.stem, file.stem) for file in files)
    return LocalCode(path, path, modules, _version(path, _files_below(path, "*.py")))


def _entry_points(project: Path) -> list[tuple[str, str]]:
    if not project.is_file():
        return []
    try:
        values = tomllib.loads(project.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise PluginError(f"{project} cannot be read: {error}") from error
    points = values.get("project", {}).get("entry-points", {}).get(PROJECT, {})
    return [(name, target.partition(":")[0]) for name, target in points.items()]


def _files_of(root: Path, top: str) -> list[Path]:
    """Return the files of an import package; of a single module, all modules next to it."""
    folder = root / top
    return _files_below(folder, "*") if folder.is_dir() else sorted(root.glob("*.py"))


def _files_below(folder: Path, pattern: str) -> list[Path]:
    """Return files at any depth, without tests, hidden files and caches."""
    found = []
    for file in sorted(folder.rglob(pattern)):
        parts = file.relative_to(folder).parts
        if file.is_file() and not any(p.startswith(".") or p in _PASSED_OVER for p in parts):
            found.append(file)
    return found


def _version(root: Path, files: list[Path]) -> str:
    """Return the hash of some files, by their places below ``root``."""
    size = sum(file.stat().st_size for file in files)
    if size > _MOST_BYTES:
        raise PluginError(
            f"{root} has {size / 1024**2:.0f} MB, more than a plugin's code; keep data elsewhere"
        )
    total = hashlib.sha256()
    for file in files:
        content = file.read_bytes()
        total.update(f"{file.relative_to(root).as_posix()}\0{len(content)}\0".encode() + content)
    return total.hexdigest()[:12]


def _import_module(code: LocalCode, name: str) -> ModuleType:
    """Import one module, again where the imported one is of another version.

    Raises
    ------
    PluginError
        If it cannot be imported; the message names file and line.
    """
    loaded = sys.modules.get(name)
    if getattr(loaded, "__medbench_version__", code.version) != code.version:
        _drop_modules(code.root, name)
        loaded = None
    if loaded is None:
        importlib.invalidate_caches()
        try:
            loaded = _import_file(code, name) if code.path.is_file() else _import(code, name)
        except (KeyboardInterrupt, PluginError):
            raise
        except BaseException as error:
            sys.modules.pop(name, None)
            raise PluginError(f"{_place(error, code)}: {format_error(error)}") from error
        loaded.__dict__["__medbench_version__"] = code.version
    return loaded


def _import_file(code: LocalCode, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, code.path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _import(code: LocalCode, name: str) -> ModuleType:
    if str(code.root) not in sys.path:
        sys.path.append(str(code.root))  # at the end: it hides nothing
    module = importlib.import_module(name)
    file = Path(module.__file__ or "").resolve()
    if not file.is_relative_to(code.root.resolve()):
        raise PluginError(
            f"{code.path}: its module {name!r} is hidden by {file}; uninstall that, or rename one"
        )
    return module


def _drop_modules(root: Path, name: str) -> None:
    """Drop modules of an older version, so that they are imported again."""
    for each, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if each == name or (file and Path(file).resolve().is_relative_to(root.resolve())):
            del sys.modules[each]


def _place(error: BaseException, code: LocalCode) -> str:
    """Return the file of a plugin, and the line, at which an import failed."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if Path(frame.filename).is_relative_to(code.root):
            return f"{frame.filename}, line {frame.lineno}"
    return str(code.path)


def _add_hooks(module: ModuleType) -> None:
    """Add hooks that announce the plugin classes of a module, if it has no hooks.

    Raises
    ------
    PluginError
        If a class, and none derived from it, has all methods of its kind.
    """
    if any(name.startswith("medbench_") and callable(value) for name, value in _own(module)):
        return
    for kind in KINDS:
        derived = _classes(module, kind)
        whole = [each for each in derived if not inspect.isabstract(each)]
        for each in derived:
            if not any(issubclass(one, each) for one in whole):
                lacks = ", ".join(sorted(each.__abstractmethods__))
                base = kind.base.partition(":")[2]
                raise PluginError(
                    f"{module.__file__}: class {each.__name__} lacks {lacks}, which {base} requires"
                )
        if plugins := [_record(found, kind) for found in whole]:
            setattr(module, kind.hook, hookimpl(lambda found=plugins: found))


def _own(module: ModuleType) -> list[tuple[str, Any]]:
    name = module.__name__
    return [(n, v) for n, v in vars(module).items() if getattr(v, "__module__", "") == name]


def _classes(module: ModuleType, kind: Kind) -> list[Any]:
    where, _, name = kind.base.partition(":")
    base = getattr(importlib.import_module(where), name)
    return [
        value for _, value in _own(module) if isinstance(value, type) and issubclass(value, base)
    ]


def _record(found: type[Any], kind: Kind) -> Plugin:
    """Return a record of a class: name from the class name, summary from the docstring."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|_", "-", found.__name__)
    line = (inspect.getdoc(found) or "").strip().split("\n")[0]
    return Plugin(
        name=_ENDINGS.sub("", words.lower().strip("-")),
        target=f"{found.__module__}:{found.__qualname__}",
        summary=line[:100] or f"a {kind.name} in a file",
        interface=medbench.INTERFACE_VERSION,
    )


def _empty(code: LocalCode, found: list[Manifest]) -> Manifest:
    bases = ", ".join(kind.base.partition(":")[2] for kind in KINDS)
    reason = (
        f"{code.path} has no plugin: no class derived from {bases}, and no hook "
        "that announces one; callbacks and board sections need an installed package"
    )
    return Manifest(found[0].entry_point, file=str(code.path), faults=(Fault(reason),))

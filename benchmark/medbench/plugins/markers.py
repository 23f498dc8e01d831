"""What a plugin package imports to announce itself: a marker and three small records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pluggy

#: Name of the pluggy project and of the entry-point group.
PROJECT = "medbench"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@dataclass(frozen=True)
class Plugin:
    """Announces one plugin without importing its code.

    Parameters
    ----------
    name : str
        The word users write in protocols and on the command line: lower-case
        letters, digits, ``-`` and ``_``; a ``:`` may separate a family's name,
        as in ``medmnist:pathmnist``.
    target : str
        Where the class is, as ``"package.module:Class"``. It is imported only
        when the plugin is used, so announcing costs nothing.
    summary : str
        One line for ``medbench list``.
    interface : int
        The interface version the plugin was written for
        (:data:`medbench.INTERFACE_VERSION` at that time, as a literal number).
    revision : int
        Raise it whenever a change alters the plugin's outcome: it is part of
        the run key, so results of different revisions are never mixed.
    defaults : mapping
        Settings that this name presets, so that one class can serve several
        names.
    settings : str
        Where the class's ``Settings`` can be imported without importing the
        class (and torch with it), as ``"package.module:Settings"``. With it a
        protocol is checked in a moment; without it the class is imported.
    citation : str
        The paper to cite, as in a list of references: authors with initials, title, where
        and when, each ended by a full stop; ``"; see also "`` separates several. The board
        shows it next to the plugin's name, ``medbench cite`` makes BibTeX of it.
    member : str
        The setting that ``NAME:VALUE`` sets, where one plugin has more members than could
        be announced one by one.
    family : str
        The kind of approach, in a few words, such as ``"robust loss"``; the board filters
        by it.
    """

    name: str
    target: str
    summary: str
    interface: int
    revision: int = 1
    defaults: Mapping[str, Any] = field(default_factory=dict)
    settings: str = ""
    citation: str = ""
    member: str = ""
    family: str = ""


@dataclass(frozen=True)
class Command:
    """A command of the command line, announced without importing it.

    Parameters
    ----------
    name : str
        The word after ``medbench``.
    target : str
        The click command, as ``"package.module:command"``.
    summary : str
        The line ``medbench --help`` shows.
    """

    name: str
    target: str
    summary: str


@dataclass(frozen=True)
class Logger:
    """A callback that ``medbench run --log NAME`` switches on.

    Parameters
    ----------
    name : str
        The word after ``--log``.
    target : str
        The module with its hooks, imported in a process of its own.
    summary : str
        One line for ``medbench list loggers``.
    needs : str
        The module that it requires, and how to install it:
        ``"tensorboard: pip install tensorboard"``. Checked before
        anything runs.
    """

    name: str
    target: str
    summary: str
    needs: str = ""

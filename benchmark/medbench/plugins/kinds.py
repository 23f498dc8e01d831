"""The kinds of plugin, in one table that hooks, registry and commands share."""

from __future__ import annotations

from dataclasses import dataclass

from medbench.errors import PluginError


@dataclass(frozen=True)
class Kind:
    """One kind of plugin.

    Parameters
    ----------
    name : str
        The word on the command line and in messages.
    axis : str
        The protocol's name for a list of them, and for the table of their
        settings.
    hook : str
        The hook that announces them.
    base : str
        Their base class, as ``"module:Class"``.
    """

    name: str
    axis: str
    hook: str
    base: str


KINDS: tuple[Kind, ...] = (
    Kind("dataset", "datasets", "medbench_datasets", "medbench.interfaces:Dataset"),
    Kind("noise", "noise", "medbench_noise_models", "medbench.interfaces:NoiseModel"),
    Kind("pretext", "pretexts", "medbench_pretexts", "medbench.interfaces:Pretext"),
    Kind("method", "methods", "medbench_methods", "medbench.interfaces:LNLMethod"),
    Kind("backbone", "backbones", "medbench_backbones", "medbench.interfaces:Backbone"),
    Kind(
        "acquisition",
        "acquisitions",
        "medbench_acquisitions",
        "medbench.interfaces:Acquisition",
    ),
    Kind("executor", "executors", "medbench_executors", "medbench.interfaces:Executor"),
)


def kind_named(word: str) -> Kind:
    """Return the kind called ``word``, in the singular or plural.

    Raises
    ------
    PluginError
        If there is no such kind.
    """
    for kind in KINDS:
        if word in (kind.name, kind.axis):
            return kind
    names = ", ".join(kind.name for kind in KINDS)
    raise PluginError(f"no kind of plugin is called {word!r}; the kinds are {names}")

"""medbench: self-supervised pretraining and learning with noisy labels, fairly compared.

The core knows the kinds of plugin and none of the plugins. Importing this
package is cheap: it loads neither torch nor any plugin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medbench.plugins.markers import Command, Logger, Plugin, hookimpl

if TYPE_CHECKING:
    from medbench.protocol.schema import Protocol
    from medbench.results import Results, load
    from medbench.running import run

__all__ = [
    "ENGINE_REVISION",
    "INTERFACE_VERSION",
    "OLDEST_INTERFACE",
    "Command",
    "Logger",
    "Plugin",
    "Protocol",
    "Results",
    "__version__",
    "hookimpl",
    "load",
    "run",
]

__version__ = "0.1.0"

#: Version of the plugin interfaces (``medbench.interfaces`` and the hook
#: specifications). It rises only when a plugin written for the version before
#: would no longer work.
INTERFACE_VERSION = 1

#: The oldest version that still works. Plugins written for it, or for one between,
#: are listed as deprecated.
OLDEST_INTERFACE = 1

#: Version of the engine's arithmetic. It is part of every run key and rises
#: whenever a change to the core changes the outcome of a run.
ENGINE_REVISION = 3

#: Where the names are that are imported when they are first used: see PEP 562.
_LAZY = {
    "Protocol": "medbench.protocol.schema",
    "Results": "medbench.results",
    "load": "medbench.results",
    "run": "medbench.running",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})

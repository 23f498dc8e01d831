"""medbench: self-supervised pretraining and learning with noisy labels, fairly compared.

The core knows the kinds of plugin and none of the plugins. Importing this
package is cheap: it loads neither torch nor any plugin.
"""

from medbench.plugins.markers import Command, Logger, Plugin, hookimpl

__all__ = [
    "ENGINE_REVISION",
    "INTERFACE_VERSION",
    "OLDEST_INTERFACE",
    "Command",
    "Logger",
    "Plugin",
    "__version__",
    "hookimpl",
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
ENGINE_REVISION = 2

"""Commands that install what is missing, as they work in the environment at hand."""

from __future__ import annotations

import re
import shlex
from importlib.metadata import PackageNotFoundError, requires
from importlib.util import find_spec

from medbench.plugins.markers import PROJECT


def install_command(*what: object) -> str:
    """Return the command that installs into this environment: uv's make do without pip."""
    installer = ["pip", "install"] if find_spec("pip") else ["uv", "pip", "install"]
    return shlex.join([*installer, *map(str, what)])


def install_extra(extra: str) -> str:
    """Return the command that installs what an extra of medbench needs.

    It names the packages: medbench itself may come from a clone, a wheel or an index.
    """
    try:
        lines = requires(PROJECT) or []
    except PackageNotFoundError:
        lines = []
    needed = [
        line.partition(";")[0].strip()
        for line in lines
        if re.search(rf"extra == ['\"]{re.escape(extra)}['\"]", line)
    ]
    return install_command(*(needed or [extra]))

"""For each rule a plugin that breaks it: the contract's own test.

A mutant is a sound plugin with one fault. The table maps ``kind: rule`` to it.
"""

# they enter themselves into the table
from mutants import (  # noqa: F401
    acquisitions,
    backbones,
    datasets,
    every_kind,
    executors,
    methods,
    noise,
    pretexts,
)
from mutants.registry import IMPLIED, MUTANTS, settings_of
from mutants.sound import SOUND

__all__ = ["IMPLIED", "MUTANTS", "SOUND", "settings_of"]

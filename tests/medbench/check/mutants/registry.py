"""The table of mutants, and what breaking one rule breaks besides."""

from __future__ import annotations

from typing import Any

MUTANTS: dict[tuple[str, str], type[Any]] = {}

#: Rules that nobody can keep who breaks the one named: a mutant breaks them too.
IMPLIED: dict[tuple[str, str], set[str]] = {
    # these predict images one at a time to compare
    ("method", "one-image"): {"prediction-by-image"},
    # these compare states, or train where a state that cannot be saved fails the run
    ("method", "plain-state"): {
        "resume", "repeats", "seed-matters", "prediction-leaves-no-trace", "learns",
    },
    # two trainings are compared, which differ in any case
    ("method", "repeats"): {"prediction-leaves-no-trace"},
    # these have two classes
    ("method", "two-classes"): {"few-samples", "learns"},
    # these ask for labels of other data, and look at them first
    ("noise", "labels"): {
        "matrix-agrees", "two-classes", "missing-class", "one-sample", "grey-and-colour"
    },
    # labels are held against a matrix that is none
    ("noise", "matrix"): {"matrix-agrees"},
    # one of its two tasks is the same
    ("pretext", "step"): {"grey-and-colour"},
}  # fmt: skip


def breaks(kind: str, rule: str) -> Any:
    def enter(cls: type[Any]) -> type[Any]:
        assert (kind, rule) not in MUTANTS
        # a class of one fault has a description, which is not inherited
        cls.__doc__ = cls.__doc__ or cls.__mro__[1].__doc__
        MUTANTS[kind, rule] = cls
        return cls

    return enter


def settings_of(mutant: type[Any]) -> dict[str, Any]:
    """Return settings a mutant needs to show its fault."""
    return getattr(mutant, "given", {})

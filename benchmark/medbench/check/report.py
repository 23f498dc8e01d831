"""Checking whole plugins, and telling of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from medbench.check.catalogue import rules_of
from medbench.check.contract import Outcome, Rule, examine
from medbench.check.subject import Subject
from medbench.errors import MedbenchError, NotPreparedError


@dataclass(frozen=True)
class Checked:
    """What a check of one plugin found.

    Parameters
    ----------
    subject : Subject
        The plugin.
    outcomes : tuple of Outcome
        One a rule.
    not_checked : str
        Why the rules could not be checked; empty where they were.
    """

    subject: Subject
    outcomes: tuple[Outcome, ...]
    not_checked: str = ""

    @property
    def broken(self) -> list[Outcome]:
        """The rules it breaks."""
        return [outcome for outcome in self.outcomes if outcome.state == "broken"]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        entry = self.subject.entry
        return {
            "kind": entry.kind.name,
            "name": entry.name,
            "from": entry.distribution,
            "version": entry.version,
            "kept": not self.broken and not self.not_checked,
            "not_checked": self.not_checked,
            "rules": [
                {
                    "rule": outcome.rule.name,
                    "state": outcome.state,
                    "expected": outcome.rule.expects,
                    "found": outcome.found,
                    "fix": outcome.rule.fix if outcome.state == "broken" else "",
                }
                for outcome in self.outcomes
            ],
        }


def why_not_checkable(subject: Subject) -> str:
    """Return why a plugin cannot be checked as it is, or an empty string.

    That is no violation: a dataset may wait to be prepared, a plugin for settings
    without which it cannot do anything.
    """
    try:
        if subject.entry.kind.name == "dataset":
            subject.make().card(subject.context)
    except NotPreparedError as error:
        return str(error)
    except MedbenchError as error:
        return str(error)
    except Exception:  # noqa: BLE001 - a fault: the rules will tell of it
        return ""
    return ""


def outcomes(subject: Subject, only: Sequence[str] = ()) -> Iterator[tuple[Rule, Outcome]]:
    """Check the rules of a plugin's kind, yielding each as it is done."""
    for rule in rules_of(subject.entry.kind.name):
        if not only or rule.name in only:
            yield rule, examine(rule, subject)

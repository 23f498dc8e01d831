"""What a rule of the contract is, and what it says when a plugin breaks it."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medbench.check.subject import Subject

_HERE = Path(__file__).parent


class Violation(Exception):  # noqa: N818 - it is what a rule finds, no error of ours
    """Raised by a rule's check: says what came instead of what was expected."""


class NotApplicable(Exception):  # noqa: N818 - no error: there is nothing to check
    """Raised by a rule's check where it has no meaning for this plugin; says why."""


class ContractError(AssertionError):
    """A plugin breaks a rule: what was expected, what came, and how to fix it."""


@dataclass(frozen=True)
class Rule:
    """One rule of the contract.

    Parameters
    ----------
    kind : str
        The kind of plugin it is for, or ``"plugin"`` for all kinds.
    name : str
        A few words joined by ``-``; unique in a kind.
    expects : str
        What a plugin must do: one sentence.
    why : str
        What goes wrong for whom if it does not.
    fix : str
        How to put it right.
    check : callable
        Takes the :class:`Subject`; raises :class:`Violation` with what came
        instead. It may return a line about what was measured.
    """

    kind: str
    name: str
    expects: str
    why: str
    fix: str
    check: Callable[[Subject], str | None] = field(compare=False)


@dataclass(frozen=True)
class Outcome:
    """What became of one rule for one plugin.

    Parameters
    ----------
    rule : Rule
        The rule.
    state : {"kept", "broken", "not applicable"}
        Whether the plugin keeps it.
    found : str
        What came instead; why it is not applicable; or what was measured.
    """

    rule: Rule
    state: str
    found: str = ""


#: All rules by kind, in the order in which they are checked and documented.
_RULES: dict[str, dict[str, Rule]] = {}


def rule(
    kind: str, name: str, *, expects: str, why: str, fix: str
) -> Callable[[Callable[[Subject], str | None]], Rule]:
    """Make a rule of a check, and enter it in the catalogue; see :class:`Rule`."""

    def enter(check: Callable[[Subject], str | None]) -> Rule:
        made = Rule(kind, name, expects, why, fix, check)
        of_kind = _RULES.setdefault(kind, {})
        assert name not in of_kind, f"there are two rules {kind} {name}"
        of_kind[name] = made
        return made

    return enter


def entered(kind: str) -> list[Rule]:
    """Return the rules entered for a kind alone, without those for all kinds."""
    return list(_RULES.get(kind, {}).values())


def examine(checked: Rule, subject: Subject) -> Outcome:
    """Check one rule; whatever the plugin raises is a violation of it."""
    try:
        measured = checked.check(subject)
    except Violation as violation:
        return Outcome(checked, "broken", str(violation))
    except NotApplicable as reason:
        return Outcome(checked, "not applicable", str(reason))
    except Exception as error:  # noqa: BLE001 - any fault of foreign code
        return Outcome(checked, "broken", _told(error))
    return Outcome(checked, "kept", measured or "")


def _told(error: Exception) -> str:
    """Tell of an exception where it came out of the plugin: type, message, file and line."""
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not Path(frame.filename).is_relative_to(_HERE)]
    own = _in_plugin(frames) or (theirs or list(frames))[-1]
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text} ({own.filename}, line {own.lineno}, in {own.name})"


def _in_plugin(frames: traceback.StackSummary) -> traceback.FrameSummary | None:
    """Return the innermost frame that is neither medbench's core nor a library's."""
    core = _HERE.parent
    found = [
        frame
        for frame in frames
        if not Path(frame.filename).is_relative_to(core)
        and not {"torch", "numpy", "pydantic", "sklearn"} & set(Path(frame.filename).parts)
    ]
    return found[-1] if found else None


@dataclass(frozen=True)
class Case:
    """One rule to be checked on one plugin, as a test takes it.

    ``pytest`` shows it by ``__name__``, the rule's name.
    """

    rule: Rule
    subject: Subject

    @property
    def __name__(self) -> str:
        return self.rule.name

    def check(self) -> None:
        """Check the rule.

        Raises
        ------
        ContractError
            If the plugin breaks it.
        """
        outcome = examine(self.rule, self.subject)
        if outcome.state == "broken":
            raise ContractError(
                f"{self.subject.entry.who} breaks the rule {self.rule.name}\n"
                f"  expected: {self.rule.expects}\n"
                f"  came:     {outcome.found}\n"
                f"  fix:     {self.rule.fix}"
            )

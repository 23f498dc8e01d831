"""What a rule of the contract is, and checking a plugin against one."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from medbench.check.plugin import PluginUnderTest
from medbench.errors import MedbenchError

_CORE = Path(__file__).parents[1]


class Violation(Exception):  # noqa: N818 - it is what a rule finds, no error of ours
    """Raised by a rule's check; says what the plugin did instead of what was expected."""


class NotApplicable(Exception):  # noqa: N818 - no error: there is nothing to check
    """Raised by a rule's check that has no meaning for this plugin; says why."""


Check = Callable[[PluginUnderTest], str | None]


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
        How to correct the plugin.
    check : callable
        Takes the :class:`PluginUnderTest`; raises :class:`Violation` or
        :class:`NotApplicable`. It may return a line about what was measured.
    """

    kind: str
    name: str
    expects: str
    why: str
    fix: str
    check: Check = field(compare=False)


@dataclass(frozen=True)
class RuleResult:
    """The result of checking one rule on one plugin.

    Parameters
    ----------
    rule : Rule
        The rule.
    state : {"kept", "broken", "not applicable"}
        Whether the plugin keeps it.
    found : str
        What the plugin did instead; why the rule is not applicable; or what was measured.
    """

    rule: Rule
    state: str
    found: str = ""


def rule_of(kind: str) -> Callable[..., Callable[[Check], Rule]]:
    """Return a decorator that makes a rule for a kind of a check; the check names it.

    The decorator takes ``expects``, ``why`` and ``fix``; see :class:`Rule`.
    """

    def rule(*, expects: str, why: str, fix: str) -> Callable[[Check], Rule]:
        return lambda check: Rule(kind, check.__name__.replace("_", "-"), expects, why, fix, check)

    return rule


def check_rule(rule: Rule, plugin: PluginUnderTest) -> RuleResult:
    """Check one rule; any exception that the plugin raises is a violation of it."""
    try:
        measured = rule.check(plugin)
    except Violation as violation:
        return RuleResult(rule, "broken", str(violation))
    except NotApplicable as reason:
        return RuleResult(rule, "not applicable", str(reason))
    except Exception as error:  # noqa: BLE001 - any fault of foreign code
        return RuleResult(rule, "broken", _located(error))
    return RuleResult(rule, "kept", measured or "")


@contextmanager
def refusal_is_not_applicable() -> Iterator[None]:
    """Take a refusal that a user can read, a MedbenchError of one line, for not applicable."""
    try:
        yield
    except MedbenchError as error:
        if "\n" in str(error).strip():
            raise
        raise NotApplicable(str(error)) from error


def _located(error: Exception) -> str:
    """Return an exception's type and message, and the plugin's file and line that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    libraries = {"torch", "numpy", "pydantic", "sklearn"}
    theirs = [
        frame
        for frame in frames
        if not Path(frame.filename).is_relative_to(_CORE)
        and not libraries & set(Path(frame.filename).parts)
    ]
    at = (theirs or list(frames))[-1]
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text} ({at.filename}, line {at.lineno}, in {at.name})"

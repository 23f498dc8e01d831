"""``medbench check``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medbench.cli.common import (
    cache_option,
    console,
    discover_with,
    json_option,
    plugin_option,
    print_json,
    set_option,
)
from medbench.errors import PluginError
from medbench.plugins.kinds import kind_named
from medbench.plugins.markers import PROJECT
from medbench.plugins.registry import Entry, Registry

if TYPE_CHECKING:
    from medbench.check.contract import Outcome
    from medbench.check.report import Checked
    from medbench.check.subject import Subject


@click.command(
    epilog="""\b
Examples:
  medbench check my-method
  medbench check my-method --rule resume     one rule, while fixing it
  medbench check --plugin mine.py            what a file brings, not installed
  medbench check                             all plugins of other packages
  medbench check --rules method              what is asked of a method"""
)
@click.argument("names", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All plugins, the built-in ones too.")
@click.option("--kind", help="Kind of the plugins named, where a name has several.")
@plugin_option
@set_option
@click.option("--rule", "only", multiple=True, help="Only this rule; may be repeated.")
@click.option("--rules", "rules_of_kind", metavar="KIND", help="List the rules of a kind.")
@cache_option
@json_option
def check(
    names: Sequence[str],
    everything: bool,
    kind: str | None,
    plugins: Sequence[Path],
    settings: Sequence[str],
    only: Sequence[str],
    rules_of_kind: str | None,
    cache: Path,
    as_json: bool,
) -> int:
    """Hold plugins against the contract of their kind.

    Without NAMES, all plugins that are not medbench's own. Each broken rule is
    told with what was expected, what came and how to fix it. Exit status: 0 all
    rules kept, 1 some broken, 2 wrong usage.
    """
    from medbench.check.catalogue import kinds_with_rules
    from medbench.check.subject import Subject

    if rules_of_kind:
        _list_rules(kind_named(rules_of_kind).name, as_json=as_json)
        return 0
    registry = discover_with(plugins)
    if plugins and not names:
        paths = {str(path.absolute()) for path in plugins}
        entries = [entry for entry in registry.entries.values() if entry.path in paths]
    else:
        entries = _chosen(registry, names, kind, everything=everything)
    entries = [entry for entry in entries if names or entry.kind.name in kinds_with_rules()]
    if not entries:
        raise PluginError(
            "no plugin of another package is installed; name one, or say --all for medbench's own"
        )
    given = _settings(settings, entries)
    done = [
        _check(Subject(entry, given.get(entry.name, {}), cache), only, quiet=as_json)
        for entry in entries
    ]
    if as_json:
        print_json([each.to_json() for each in done])
    else:
        _conclude(done)
    return 1 if any(each.broken for each in done) else 0


def _chosen(
    registry: Registry, names: Sequence[str], kind: str | None, *, everything: bool
) -> list[Entry]:
    from medbench.check.cases import find_entry

    if names:
        return [find_entry(registry, name, kind) for name in names]
    wanted = kind_named(kind).axis if kind else None
    return [
        entry
        for (axis, _), entry in registry.entries.items()
        if (everything or entry.distribution != PROJECT) and wanted in (None, axis)
    ]


def _settings(given: Sequence[str], entries: Sequence[Entry]) -> dict[str, dict[str, Any]]:
    """Return the settings to check with, by plugin: ``NAME.KEY=VALUE``."""
    from medbench.protocol.changes import value_of

    found: dict[str, dict[str, Any]] = {}
    for each in given:
        path, _, text = each.partition("=")
        name, _, key = path.partition(".")
        if not key or not text or name not in [entry.name for entry in entries]:
            raise PluginError(f"--set {each}: say NAME.KEY=VALUE of a plugin that is checked")
        *tables, last = key.split(".")
        table = found.setdefault(name, {})
        for word in tables:
            table = table.setdefault(word, {})
        table[last] = value_of(text)
    return found


def _check(subject: Subject, only: Sequence[str], *, quiet: bool) -> Checked:
    """Check one plugin, telling of each rule as it is done."""
    from medbench.check.catalogue import rules_of
    from medbench.check.report import Checked, outcomes, why_not_checkable

    subject.check_settings()
    entry = subject.entry
    known = [rule.name for rule in rules_of(entry.kind.name)]
    for name in only:
        if name not in known:
            raise PluginError(
                f"there is no rule {name!r} for a {entry.kind.name}; there are {', '.join(known)}"
            )
    screen = None if quiet else console()
    if screen is not None:
        screen.print(f"[bold]{_head(subject)}[/bold]")
    if reason := why_not_checkable(subject):
        if screen is not None:
            screen.print(f"  not checked: {reason}", markup=False, soft_wrap=True)
        return Checked(subject, (), reason)
    found = []
    for _, outcome in outcomes(subject, only):
        found.append(outcome)
        if screen is not None:
            _tell(screen, outcome)
    return Checked(subject, tuple(found))


def _head(subject: Subject) -> str:
    entry = subject.entry
    return f"{entry.kind.name} {entry.name} ({entry.distribution} {entry.version})"


def _tell(screen: Any, outcome: Outcome) -> None:
    from rich.padding import Padding
    from rich.text import Text

    mark, style = {"kept": ("✓", "green"), "broken": ("✗", "bold red")}.get(
        outcome.state, ("-", "dim")
    )
    line = Text.assemble((f"  {mark} ", style), f"{outcome.rule.name:<28}")
    if outcome.state != "broken":
        line.append(outcome.found, style="dim")
    screen.print(line, soft_wrap=True)
    if outcome.state == "broken":
        for word, text in (
            ("expected", outcome.rule.expects),
            ("came", outcome.found),
            ("fix", outcome.rule.fix),
        ):
            screen.print(Padding(Text.assemble((f"{word:<10}", "bold"), text), (0, 0, 0, 6)))


def _conclude(done: Sequence[Checked]) -> None:
    broken = sum(len(each.broken) for each in done)
    rules = sum(len(each.outcomes) for each in done)
    skipped = sum(bool(each.not_checked) for each in done)
    text = f"{rules - broken} of {rules} rules kept by {len(done) - skipped} plugins"
    text += f", {broken} broken" if broken else ""
    click.echo(text + (f"; {skipped} plugins not checked" if skipped else "") + ".", err=True)


def _list_rules(kind: str, *, as_json: bool) -> None:
    from medbench.check.catalogue import rules_of

    found = rules_of(kind)
    if as_json:
        words = ("name", "expects", "why", "fix")
        print_json([{word: getattr(rule, word) for word in words} for rule in found])
        return
    for rule in found:
        click.echo(f"{rule.name}\n    {rule.expects}")

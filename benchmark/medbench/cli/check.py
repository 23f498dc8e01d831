"""``medbench check``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
from medbench.errors import MedbenchError, PluginError
from medbench.plain import many
from medbench.plugins.kinds import KINDS, kind_named
from medbench.plugins.markers import PROJECT
from medbench.plugins.registry import Entry
from medbench.suggest import did_you_mean

if TYPE_CHECKING:
    from medbench.check import PluginUnderTest, RuleResult


@click.command(
    epilog="""\b
Examples:
  medbench check my-method
  medbench check my-method --rule resume     one rule, while fixing it
  medbench check --plugin mine.py            what a file brings, not installed
  medbench check                             all plugins of other packages
  medbench check --rules method              what a method must do"""
)
@click.argument("names", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All plugins, the built-in ones too.")
@click.option("--kind", help="Only plugins of this kind.")
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
    """Check plugins against the contract of their kind.

    Without NAMES, all plugins that are not medbench's own. For each broken rule
    it prints what was expected, what the plugin did, and how to fix it. Exit status:
    0 all rules kept, 1 some broken, 2 wrong usage.
    """
    from medbench.check import PluginUnderTest, find_entry

    if rules_of_kind:
        _list_rules(kind_named(rules_of_kind).name, as_json=as_json)
        return 0
    registry = discover_with(plugins)
    kinds = (kind_named(kind),) if kind else KINDS
    found = [entry for entry in registry.entries.values() if entry.kind in kinds]
    if names:
        entries = [find_entry(registry, name, kind) for name in names]
    elif plugins:
        paths = {str(path.absolute()) for path in plugins}
        entries = [entry for entry in found if entry.path in paths]
    else:
        entries = [entry for entry in found if everything or entry.distribution != PROJECT]
    if not entries and plugins:
        raise PluginError(f"--plugin brings no {kind or 'plugin'}")
    if not entries:
        raise PluginError(
            "no plugin of another package is installed; name one, or use --all for medbench's own"
        )
    given = _settings(settings, entries)
    reports = [
        _check(PluginUnderTest(entry, given.get(entry.name, {}), cache), only, quiet=as_json)
        for entry in entries
    ]
    if as_json:
        print_json([report.to_json() for report in reports])
    else:
        _conclude(reports)
    return 1 if any(report.broken for report in reports) else 0


@dataclass(frozen=True)
class _Report:
    """The results of checking one plugin; ``not_checked`` says why there are none."""

    plugin: PluginUnderTest
    results: Sequence[RuleResult]
    not_checked: str = ""

    @property
    def broken(self) -> list[RuleResult]:
        return [result for result in self.results if result.state == "broken"]

    def to_json(self) -> dict[str, Any]:
        entry = self.plugin.entry
        return {
            "kind": entry.kind.name,
            "name": entry.name,
            "from": entry.distribution,
            "version": entry.version,
            "kept": not self.broken and not self.not_checked,
            "not_checked": self.not_checked,
            "rules": [
                {
                    "rule": result.rule.name,
                    "state": result.state,
                    "expected": result.rule.expects,
                    "found": result.found,
                    "fix": result.rule.fix if result.state == "broken" else "",
                }
                for result in self.results
            ],
        }


def _settings(given: Sequence[str], entries: Sequence[Entry]) -> dict[str, dict[str, Any]]:
    """Return the settings to check with, by plugin: ``NAME.KEY=VALUE``."""
    from medbench.protocol.changes import value_of

    found: dict[str, dict[str, Any]] = {}
    for each in given:
        path, _, text = each.partition("=")
        *tables, last = path.split(".")
        if not (tables and last and text and tables[0] in [entry.name for entry in entries]):
            raise PluginError(f"--set {each}: write NAME.KEY=VALUE of a plugin that is checked")
        table = found
        for word in tables:
            table = table.setdefault(word, {})
        table[last] = value_of(text)
    return found


def _check(plugin: PluginUnderTest, only: Sequence[str], *, quiet: bool) -> _Report:
    """Check one plugin and print each result as it comes."""
    from medbench.check import check_rule, rules_of

    plugin.check_settings()
    entry = plugin.entry
    rules = rules_of(entry.kind.name)
    known = [rule.name for rule in rules]
    for name in only:
        if name not in known:
            raise PluginError(
                f"there is no rule {name!r} for a {entry.kind.name}{did_you_mean(name, known)}"
            )
    screen = console()
    screen.quiet = quiet
    head = f"{entry.kind.name} {entry.name} ({entry.distribution} {entry.version})"
    screen.print(f"[bold]{head}[/bold]")
    if reason := _not_checkable(plugin):
        screen.print(f"  not checked: {reason}", markup=False, soft_wrap=True)
        return _Report(plugin, (), reason)
    results = []
    for rule in rules:
        if not only or rule.name in only:
            results.append(check_rule(rule, plugin))
            _print_result(screen, results[-1])
    return _Report(plugin, results)


def _not_checkable(plugin: PluginUnderTest) -> str:
    """Return why a dataset cannot be checked yet, because it must be prepared, say."""
    if plugin.entry.kind.name == "dataset":
        try:
            plugin.make().card(plugin.context)
        except MedbenchError as error:
            return str(error)
        except Exception:  # noqa: BLE001 - a fault, which the rules report
            pass
    return ""


def _print_result(screen: Any, result: RuleResult) -> None:
    from rich.padding import Padding
    from rich.text import Text

    broken = result.state == "broken"
    mark, style = {"kept": ("✓", "green"), "broken": ("✗", "bold red")}.get(
        result.state, ("-", "dim")
    )
    line = Text.assemble((f"  {mark} ", style), f"{result.rule.name:<28}")
    screen.print(line if broken else line.append(result.found, style="dim"), soft_wrap=True)
    if broken:
        said = {"expected": result.rule.expects, "got": result.found, "fix": result.rule.fix}
        for word, text in said.items():
            screen.print(Padding(Text.assemble((f"{word:<10}", "bold"), text), (0, 0, 0, 6)))


def _conclude(reports: Sequence[_Report]) -> None:
    broken = sum(len(report.broken) for report in reports)
    rules = sum(len(report.results) for report in reports)
    skipped = sum(bool(report.not_checked) for report in reports)
    text = f"{rules - broken} of {rules} rules kept by {many(len(reports) - skipped, 'plugin')}"
    text += f", {broken} broken" if broken else ""
    text += f"; {many(skipped, 'plugin')} not checked" if skipped else ""
    click.echo(f"{text}.", err=True)


def _list_rules(kind: str, *, as_json: bool) -> None:
    from medbench.check import rules_of

    rules = rules_of(kind)
    if as_json:
        words = ("name", "expects", "why", "fix")
        print_json([{word: getattr(rule, word) for word in words} for rule in rules])
        return
    for rule in rules:
        click.echo(f"{rule.name}\n    {rule.expects}")

"""Rules for plugins of every kind, which need not run them."""

from __future__ import annotations

import inspect
import json
import re
import sys
from typing import Any

from pydantic import ValidationError

from medbench.check.contract import NotApplicable, Violation, rule_of
from medbench.check.plugin import PluginUnderTest

rule = rule_of("plugin")

#: A year, a DOI, an arXiv number or an address.
_SOURCE = re.compile(r"\b(1[89]|20)\d\d\b|doi|arxiv|https?://", re.IGNORECASE)


@rule(
    expects="the record's summary is one line of 10 to 100 characters",
    why="`medbench list` shows it, and readers choose by it.",
    fix='give the Plugin record summary="what it does (whose idea, year)"',
)
def summary(plugin: PluginUnderTest) -> None:
    """Check the summary."""
    text = plugin.entry.plugin.summary
    if "\n" in text or not 10 <= len(text.strip()) <= 100:
        raise Violation(f"the summary is {text!r:.120}, {len(text)} characters")


@rule(
    expects="the class has a docstring of its own of at least 40 characters",
    why="`medbench show` prints it: what is computed, by which formula, what was chosen.",
    fix="write a numpydoc docstring under the class's first line",
)
def description(plugin: PluginUnderTest) -> None:
    """Look at the docstring."""
    text = inspect.cleandoc(plugin.entry.load().__doc__ or "")
    if len(text) < 40:
        raise Violation(f"its docstring is {text!r}" if text else "it has none")


@rule(
    expects="a docstring or the summary names a source: a year, DOI, arXiv number or address",
    why="A result is only useful if readers know whose idea it tests.",
    fix='add a "References" section to the docstring; for your own idea, name and year',
)
def source(plugin: PluginUnderTest) -> None:
    """Look for a source."""
    if plugin.entry.kind.name in ("dataset", "executor"):
        raise NotApplicable("a dataset names it in its card, an executor has none")
    found = plugin.entry.load()
    module = sys.modules.get(found.__module__)
    texts = (found.__doc__, getattr(module, "__doc__", ""), plugin.entry.plugin.summary)
    if not any(_SOURCE.search(text or "") for text in texts):
        raise Violation("no docstring and no summary has a year, DOI, arXiv number or address")


@rule(
    expects="each setting has a type and a description",
    why="`medbench show` prints them; protocols are checked against them before a run.",
    fix='write NAME: TYPE = Field(DEFAULT, description="what it does, its unit")',
)
def settings_described(plugin: PluginUnderTest) -> None:
    """Look at each field of the settings."""
    for name, field in plugin.entry.load_settings().model_fields.items():
        if not (field.description or "").strip():
            raise Violation(f"setting {name!r} has no description")
        if field.annotation is Any:
            raise Violation(f"setting {name!r} has the type Any")


@rule(
    expects="each setting has a default",
    why="A protocol that only names the plugin must work, or say what is missing on use.",
    fix="give the field a default; where none is sensible, None, and raise a MedbenchError on use "
    "that says what to set",
)
def settings_default(plugin: PluginUnderTest) -> None:
    """Look for required fields."""
    for name, field in plugin.entry.load_settings().model_fields.items():
        if field.is_required() and name not in plugin.entry.plugin.defaults:
            raise Violation(f"setting {name!r} must be given")


@rule(
    expects="the settings, written as JSON and read again, are the same",
    why="They are part of the run key and of every record; a lost value cannot be repeated.",
    fix="use types that JSON has; let validators accept their own output",
)
def settings_keep(plugin: PluginUnderTest) -> None:
    """Write the settings as JSON and read them again."""
    model = plugin.entry.load_settings()
    first = model.model_validate(plugin.values)
    text = json.dumps(first.model_dump(mode="json"), allow_nan=False)
    second = model.model_validate(json.loads(text))
    if first != second:
        changed = [n for n in model.model_fields if getattr(first, n) != getattr(second, n)]
        raise Violation(f"{', '.join(changed)} changed when read from {text:.200}")


@rule(
    expects="a setting that does not exist is refused",
    why="A misspelt setting that is accepted gives a run with the default under a wrong name.",
    fix="derive from Settings, MethodSettings or PretextSettings, and keep extra='forbid'",
)
def settings_refuse(plugin: PluginUnderTest) -> None:
    """Give a setting that does not exist."""
    model = plugin.entry.load_settings()
    try:
        model.model_validate({**plugin.values, "no_such_setting": 1})
    except ValidationError:
        return
    raise Violation("no_such_setting = 1 was accepted")


@rule(
    expects="each preset is a valid set of settings",
    why='A protocol starts from one with preset = "...", and fails if it is not.',
    fix="correct the names and values in the settings' class variable `presets`",
)
def presets(plugin: PluginUnderTest) -> None:
    """Validate each preset."""
    model = plugin.entry.load_settings()
    if not model.presets:
        raise NotApplicable("it has no presets")
    for name, values in model.presets.items():
        try:
            model.model_validate({**plugin.values, **values})
        except ValidationError as error:
            fault = error.errors()[0]
            key = ".".join(map(str, fault["loc"]))
            raise Violation(f"preset {name!r}: {key}: {fault['msg']}") from error

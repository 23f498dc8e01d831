"""The group marked ``browser``: left out, and said to be, where there is no Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import SETUP, Chromium, missing

_HERE = Path(__file__).parent
_LEFT_OUT = pytest.StashKey[str]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    mine = [item for item in items if _HERE in item.path.parents]
    for item in mine:
        item.add_marker("browser")
    lacking = missing()
    if not lacking or not mine:
        return
    reason = f"{', '.join(lacking)} not found; {SETUP}"
    if config.option.markexpr == "browser":
        raise pytest.UsageError(f"the browser tests cannot run: {reason}")
    items[:] = [item for item in items if item not in mine]
    config.hook.pytest_deselected(items=mine)
    config.stash[_LEFT_OUT] = f"{len(mine)} browser tests left out: {reason}"


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if said := config.stash.get(_LEFT_OUT, ""):
        terminalreporter.write_line(said, yellow=True)


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    browser = Chromium(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.quit()


@pytest.fixture(autouse=True)
def fresh(chromium: Chromium) -> None:
    """Each test starts with a desktop's window in light style, with scripts."""
    chromium.scripts(True)
    chromium.emulate()

"""How the outputs of a page are compared with those of its commands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[1] / "tools" / "run_page.py"

PAGE = """
```toml
# first.toml
name = "first"
```

```console
$ cat first.toml
{said}
```
"""


def run(tmp_path: Path, said: str, *more: str) -> tuple[int, str]:
    page = tmp_path / "page.md"
    page.write_text(PAGE.format(said=said))
    ended = subprocess.run(
        [sys.executable, str(TOOL), str(page), *more], capture_output=True, text=True, check=False
    )
    return ended.returncode, page.read_text()


@pytest.mark.parametrize("said", ['# first.toml\nname = "first"', "...", '...\nname = "first"'])
def test_an_output_that_is_as_the_page_says(said: str, tmp_path: Path) -> None:
    assert run(tmp_path, said)[0] == 0


@pytest.mark.parametrize("said", ['name = "second"', '# first.toml\nname = "first"\nmore', ""])
def test_an_output_that_is_not(said: str, tmp_path: Path) -> None:
    assert run(tmp_path, said)[0] == 1


def test_written_outputs_are_those_of_the_commands(tmp_path: Path) -> None:
    status, text = run(tmp_path, "old", "--write")
    assert status == 0
    assert '$ cat first.toml\n# first.toml\nname = "first"\n```' in text

"""The command ``medbench leaderboard``."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command()
@click.option(
    "--results",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("medbench-results"),
    show_default=True,
    help="Results folder to read.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the board's files.  [default: RESULTS/board]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the standings as JSON.")
def leaderboard(results: Path, out: Path | None, as_json: bool) -> None:
    """Make the board of a results folder.

    Writes leaderboard.csv (entrant by block), runs.csv (one row a run) and
    index.html (one page that needs no network), and prints the ranked table.

    \b
    Examples:
      medbench leaderboard
      medbench leaderboard --results my-results --out public/board
      medbench leaderboard --json | jq '.standings.last[0]'
    """
    # imported here: --help must not wait for pandas
    from medbench_leaderboard.board import read_board
    from medbench_leaderboard.build import FILES, build_board
    from medbench_leaderboard.standings_json import standings_json
    from medbench_leaderboard.terminal import plain_text

    folder = build_board(results, out or results / "board")
    board = read_board(results)
    files = {name: str(folder / name) for name in FILES}
    if as_json:
        click.echo(json.dumps({"files": files, **standings_json(board)}, indent=1))
        return
    click.echo(plain_text(board))
    for name in FILES:
        click.echo(files[name])

"""``medbench leaderboard``."""

from __future__ import annotations

from pathlib import Path

import click

from medbench.cli.common import find_results, json_option, print_json, results_option


@click.command(
    epilog="""\b
Examples:
  medbench leaderboard
  medbench leaderboard --results medbench-results/quick --out public/board
  medbench leaderboard --json | jq '.standings.last[0]'"""
)
@results_option
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the board's files.  [default: board in the results folder]",
)
@json_option
def leaderboard(results_dir: Path | None, out: Path | None, as_json: bool) -> None:
    """Make the board of a results folder.

    Writes leaderboard.csv (entrant by block), runs.csv (one row a run) and
    index.html (one page that needs no network), and prints the ranked table.
    """
    # imported here: --help must not wait for pandas
    from medbench.store.results import Results
    from medbench_leaderboard.build import FILES, write_board
    from medbench_leaderboard.standings_json import standings_json
    from medbench_leaderboard.terminal import plain_text

    results = Results.open(find_results(results_dir))
    folder = out or results.board
    board = write_board(results.root, folder)
    files = {name: str(folder / name) for name in FILES}
    if as_json:
        print_json({"files": files, **standings_json(board)})
        return
    click.echo(plain_text(board))
    for path in files.values():
        click.echo(path)

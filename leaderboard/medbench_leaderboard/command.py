"""``medbench leaderboard`` and ``medbench advise``."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from zipfile import is_zipfile

import click

from medbench.cli.common import find_results, json_option, print_json
from medbench.errors import MedbenchError

several_results_option = click.option(
    "--results",
    "results_dirs",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Results folder or bundle; give it several times to merge several.  "
    "[default: the only one in medbench-results]",
)

check_option = click.option(
    "--check",
    is_flag=True,
    help="Compare all records with their digests; without it, up to 5,000 new ones are.",
)


@click.command(
    epilog="""\b
Examples:
  medbench leaderboard
  medbench leaderboard --results medbench-results/quick --out public/board
  medbench leaderboard --results lab-a --results lab-b.zip --out board
  medbench leaderboard --json | jq '.questions[] | select(.decidable)'"""
)
@several_results_option
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the board's files.  [default: board in the results folder]",
)
@check_option
@json_option
def leaderboard(
    results_dirs: tuple[Path, ...], out: Path | None, check: bool, as_json: bool
) -> None:
    """Make the board of a results folder, or of several together.

    Writes leaderboard.csv (entrant by block), runs.csv and runs.parquet (one
    row a run), tests.csv and tests.md (what was tested, what may be said and
    how), table.md and table.tex (for a paper) and index.html (one page that
    needs no network), and prints the ranked table.

    A record whose content is not what its digest says is named and left out.
    So is a run that several folders have with different outcomes or settings.
    """
    # imported here: --help must not wait for pandas
    from medbench.results import load
    from medbench_leaderboard.names import FILES
    from medbench_leaderboard.upkeep import update_board

    roots = results_dirs or (find_results(None),)
    if out is None and len(roots) > 1:
        raise MedbenchError("several results folders have no board of their own: say --out DIR")
    if out is None and is_zipfile(roots[0]):
        raise MedbenchError("a bundle has no board of its own: say --out DIR")
    if out is not None:
        _refuse_files_of_others(out, FILES)
    folder = out or roots[0] / "board"
    board = update_board(load(roots), folder, everything=check)
    if not board.rebuilt:
        click.echo("Nothing has changed since this board was made: its files stay.", err=True)
    files = {name: str(folder / name) for name in FILES}
    if as_json:
        print_json({"files": files, **board.standings})
        return
    click.echo(board.text)
    for path in files.values():
        click.echo(path)


def _refuse_files_of_others(out: Path, names: Iterable[str]) -> None:
    """Keep what is no board from being overwritten.

    Raises
    ------
    MedbenchError
        Naming a file of this name that belongs to no board.
    """
    page = out / "index.html"
    with suppress(OSError):
        if "medbench board" in page.read_text("utf-8", errors="replace")[:2000]:
            return
    if there := [name for name in names if (out / name).exists()]:
        raise MedbenchError(
            f"{out / there[0]} is there, and no board of medbench; choose another folder with --out"
        )


def _rate(_context: click.Context, _option: click.Parameter, value: str | None) -> float | None:
    if value is None or value == "unknown":
        return None
    try:
        return float(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is neither a number nor `unknown`") from error


@click.command(
    epilog="""\b
Examples:
  medbench advise
  medbench advise --dataset kather-texture-mini --rate 0.5
  medbench advise --dataset kather-texture-mini --rate unknown --no-oracle
  medbench advise --json | jq -r '.entrants[] | select(.recommended) | .method'"""
)
@several_results_option
@click.option("--dataset", help="Dataset of the board.  [default: all together]")
@click.option(
    "--rate",
    callback=_rate,
    metavar="RATE|unknown",
    help="Noise rate of the board, or `unknown` for all rates together.  [default: unknown]",
)
@click.option("--noise", help="Noise model of the board.  [default: all together]")
@click.option(
    "--no-oracle",
    is_flag=True,
    help="Leave out entrants that asked for something not known in practice.",
)
@json_option
def advise(
    results_dirs: tuple[Path, ...],
    dataset: str | None,
    rate: float | None,
    noise: str | None,
    no_oracle: bool,
    as_json: bool,
) -> None:
    """Say which entrants remain possible as the best, and what each costs.

    The entrants marked form a confidence set: with the protocol's confidence it
    holds the one that is truly best on these datasets. Choose among them by
    cost. Only blocks without missing runs count.
    """
    from dataclasses import asdict

    from medbench.results import load
    from medbench_leaderboard.advising import advice_text, ask_advice

    results = load(results_dirs or (find_results(None),))
    advice = ask_advice(results, dataset=dataset, rate=rate, noise=noise, oracle=not no_oracle)
    if as_json:
        values = asdict(advice)
        for advised in values["entrants"]:
            advised["pretext"], advised["method"] = advised.pop("entrant")
        print_json(values)
        return
    click.echo(advice_text(advice))

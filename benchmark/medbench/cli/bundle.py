"""``medbench bundle``."""

from __future__ import annotations

from pathlib import Path

import click

from medbench.cli.common import FILE, FOLDER, find_results, json_option, print_json, short_path
from medbench.errors import StoreError
from medbench.plain import many


@click.command(
    epilog="""\b
Examples:
  medbench bundle
  medbench bundle medbench-results/quick --out quick-of-my-lab.zip
  medbench bundle --slim                       a seventh of the size, without predictions
  medbench bundle quick-of-my-lab.zip --unpack FOLDER"""
)
@click.argument("results", required=False, type=click.Path(path_type=Path, exists=True))
@click.option("--results", "named", type=FOLDER, help="The same as RESULTS.")
@click.option("--out", type=FILE, help="The file to write.  [default: PROTOCOL.medbench.zip]")
@click.option("--weights", is_flag=True, help="Put pretrained weights in, too.")
@click.option("--slim", is_flag=True, help="Leave predictions of single images out.")
@click.option(
    "--unpack",
    "target",
    type=FOLDER,
    help="Unpack the bundle RESULTS into this folder and check every file.",
)
@json_option
def bundle(
    results: Path | None,
    named: Path | None,
    out: Path | None,
    weights: bool,
    slim: bool,
    target: Path | None,
    as_json: bool,
) -> None:
    """Put the records of a results folder into one file that can be checked.

    RESULTS is a results folder (or, with --unpack, a bundle). The bundle holds
    records, protocol and plan, with the SHA-256 of each; the same results give
    the same bytes. `leaderboard`, `advise` and `verify` take it as --results. With --slim, records
    lack the predictions: boards are the same, but digests cannot be computed again.
    """
    # imported here: --help must not wait for HDF5
    from medbench.store.bundle import read_bundle, unpack_bundle, write_bundle
    from medbench.store.results import ResultsFolder

    results = results or named
    if target is not None:
        if results is None:
            raise StoreError("say which bundle to unpack: medbench bundle FILE --unpack FOLDER")
        made, place = unpack_bundle(results, target), target
    else:
        opened = ResultsFolder.open(find_results(results))
        place = out or Path(f"{opened.protocol_name}.medbench.zip")
        write_bundle(opened, place, weights=weights, slim=slim)
        made = read_bundle(place)
    if as_json:
        values = {"protocol": made.protocol, "runs": made.runs, "files": len(made.files)}
        print_json({"path": str(place), "bytes": made.size, **values})
        return
    runs = many(made.runs, "run")
    click.echo(f"{short_path(place.absolute())}: {runs} of protocol {made.protocol}")
    click.echo(f"{many(len(made.files), 'file')}, {made.size / 1e6:.1f} MB, all checked", err=True)

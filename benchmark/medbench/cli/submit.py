"""``medbench submit``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from medbench.cli.common import (
    FOLDER,
    cache_option,
    find_results,
    json_option,
    print_json,
    results_option,
    short_path,
)
from medbench.errors import MedbenchError
from medbench.plain import many


@click.command(
    epilog="""\b
Examples:
  medbench submit --name my-loss-quick --author "A. Doe, Some University" --sign-off
  medbench submit --name mine --author "A. Doe" --sign-off --source medbench-mine=git+URL@v1
  medbench submit --check submissions/my-loss-quick"""
)
@results_option
@click.option("--name", help="Name of the submission's folder: a-z, 0-9 and -.")
@click.option("--author", "authors", multiple=True, help="Name and affiliation; may be repeated.")
@click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="PACKAGE=WHERE",
    help="Where others get a package in this version, as pip takes it; may be repeated.",
)
@click.option("--sign-off", is_flag=True, help="Sign what the command prints without it.")
@click.option(
    "--out", type=FOLDER, default=Path("submissions"), show_default=True, help="Folder of all."
)
@click.option("--check", "checked", type=FOLDER, help="Only check this folder of a submission.")
@cache_option
@json_option
def submit(
    results_dir: Path | None,
    name: str | None,
    authors: Sequence[str],
    sources: Sequence[str],
    sign_off: bool,
    out: Path,
    checked: Path | None,
    cache: Path,
    as_json: bool,
) -> int:
    """Check results and write the folder of a pull request to a public board.

    Recomputes everything as `verify` does; all runs must be planned, registered before the first
    result, and done or failed. Plugins of others must be installed packages with a licence that
    keep their contract. Exit status: 0, or 1 if something is in the way.
    """
    # imported here: --help must not wait for pandas
    from medbench import submitting
    from medbench.plugins.registry import discover
    from medbench.results import load
    from medbench.store.results import ResultsFolder

    if checked is not None:
        progress = (lambda text: click.echo(text, err=True)) if as_json else click.echo
        return _say(submitting.check_submission(checked, progress), checked, as_json=as_json)
    if not name or not authors:
        raise MedbenchError("say who submits, and under which name: --name NAME --author WHO")
    if not sign_off:
        raise MedbenchError(f'give --sign-off if this is so: "{submitting.SIGN_OFF}"')
    submitting.check_target(out / name)
    if wrong := [source for source in sources if "=" not in source]:
        raise MedbenchError(f"--source {wrong[0]}: say PACKAGE=WHERE")
    where = dict(source.partition("=")[::2] for source in sources)
    folder = ResultsFolder.open(find_results(results_dir))
    results = load(folder.root)
    packages = submitting.packages_of(results, where)
    if unknown := where.keys() - {package.name for package in packages}:
        raise MedbenchError(f"--source {min(unknown)}: no run used a package of this name")
    found = list(submitting.problems(results, folder, packages))
    if not found:  # the contract takes longer
        click.echo("Checking the contract of plugins of other packages.", err=True)
        found = list(submitting.broken_rules(results, discover(), cache.absolute()))
    if not found:
        submitting.write_submission(folder, out / name, authors, where)
        if not as_json:
            place = short_path((out / name).absolute())
            click.echo(f"{place}: open a pull request that adds this folder")
    return _say(found, out / name, as_json=as_json)


def _say(found: Sequence[str], folder: Path, *, as_json: bool) -> int:
    if as_json:
        print_json({"path": str(folder), "accepted": not found, "problems": list(found)})
        return 1 if found else 0
    for text in found:
        click.echo(text)
    if found:
        click.echo(f"Not accepted: {many(len(found), 'problem')}.", err=True)
    return 1 if found else 0

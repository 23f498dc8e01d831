"""``medbench cite``."""

from __future__ import annotations

from pathlib import Path

import click

from medbench.cli.common import find_results, json_option, print_json, results_option


@click.command(
    epilog="""\b
Examples:
  medbench cite
  medbench cite --results medbench-results/quick > references.bib"""
)
@results_option
@json_option
def cite(results_dir: Path | None, as_json: bool) -> None:
    """Print the references of everything that results were made with, as BibTeX.

    Datasets, noise models, pretexts, methods, backbones, acquisition functions and
    medbench itself, as the records name them. The board has the same in references.bib.
    """
    # imported here: --help must not wait for pandas
    from medbench.citing import bibliography, references
    from medbench.results import load

    results = load(find_results(results_dir))
    if as_json:
        print_json(
            [{"for": each.what, "key": each.key, "text": each.text} for each in references(results)]
        )
        return
    click.echo(bibliography(results), nl=False)

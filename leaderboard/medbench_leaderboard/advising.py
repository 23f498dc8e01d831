"""Advice for ``medbench advise``: from results folders to a table on the terminal."""

from __future__ import annotations

from medbench.errors import MedbenchError
from medbench.results import Results
from medbench_leaderboard.board import read_blocks
from medbench_leaderboard.names import Block, many
from medbench_leaderboard.statistics.advice import advise, read_costs
from medbench_leaderboard.statistics.findings import Advice, Advised
from medbench_leaderboard.terminal import add_row, new_table, text_of
from medbench_leaderboard.words import ADVICE_NOTE


def ask_advice(
    results: Results,
    *,
    dataset: str | None = None,
    rate: float | None = None,
    noise: str | None = None,
    oracle: bool = True,
) -> Advice:
    """Return advice from the blocks that count.

    Parameters
    ----------
    results : Results
        Of one results folder or several.
    dataset, rate, noise : optional
        Part of the grid; None for all of an axis.
    oracle : bool
        Whether entrants that asked the oracle are considered.

    Raises
    ------
    MedbenchError
        If the board has no such dataset, rate or noise model, or no block of
        them counts.
    """
    facts, runs, panel = read_blocks(results)
    blocks = [Block(*key) for key in runs[list(Block._fields)].drop_duplicates().itertuples(False)]
    for name, value in (("dataset", dataset), ("noise", noise), ("rate", rate)):
        have = dict.fromkeys(getattr(block, name) for block in blocks)
        if value is not None and value not in have:
            raise MedbenchError(
                f"the board has no {name} {value}; it has {', '.join(map(str, have))}"
            )
    costs = read_costs(runs)
    if not oracle:
        asked = {entrant for (_, entrant), cost in costs.items() if cost.oracle}
        panel = panel.without(asked)
    if not panel.entrants:
        raise MedbenchError("all entrants asked the oracle: nothing is left to advise")
    found = advise(panel, costs, 1 - facts.alpha, dataset=dataset, rate=rate, noise=noise)
    if found is None:
        raise MedbenchError(
            "no block of these counts yet: each has missing runs, mixed settings or misleading "
            "labels; `medbench verify` lists the runs that are missing"
        )
    return found


def advice_text(advice: Advice) -> str:
    """Return an advice as a table, best mean first, and its sentence."""
    table = new_table(_title(advice))
    table.add_column("", no_wrap=True)
    for name in ("pretext", "method"):
        table.add_column(name, no_wrap=True, overflow="ellipsis", max_width=24)
    for name in ("mean", "behind", "seconds", "of it pretraining", "parameters"):
        table.add_column(name, justify="right", no_wrap=True)
    for advised in advice.entrants:
        add_row(table, _cells(advised))
    notes = ["✓ is not ruled out as the best; seconds are those of one run, with its share of the "
             "pretraining"]  # fmt: skip
    if any(advised.oracle for advised in advice.entrants):
        notes.append("* asked the oracle for something not known in practice")
    return text_of(table, *notes, advice.sentence, ADVICE_NOTE)


def _title(advice: Advice) -> str:
    where = ", ".join(filter(None, (advice.dataset or "all datasets", advice.noise)))
    rate = "unknown rate" if advice.rate is None else f"rate {advice.rate:g}"
    pairs = f"{many(advice.repetitions, 'pair')} of dataset and seed"
    return f"{where}, {rate}: {many(advice.blocks, 'block')}, {pairs}"


def _cells(advised: Advised) -> list[str]:
    interval = advised.interval
    ends = "" if interval is None else f" [{interval.low:.3f}, {interval.high:.3f}]"
    pretraining = advised.pretraining_seconds
    return [
        "✓" if advised.recommended else " ",
        advised.entrant.pretext,
        advised.entrant.method + ("*" if advised.oracle else ""),
        f"{advised.mean:.3f}",
        f"{advised.behind:.3f}{ends}",
        "?" if advised.seconds is None else f"{advised.seconds:.1f}",
        "?" if pretraining is None else f"{pretraining:.1f}",
        "?" if advised.parameters is None else f"{advised.parameters:,}",
    ]

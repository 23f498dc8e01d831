"""medbench_leaderboard: reads records, makes the board; never imports torch.

This module holds the hooks only. Everything heavier is imported when a board
is made, so that ``medbench --help`` stays quick.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from medbench import Command, hookimpl

if TYPE_CHECKING:
    from medbench import Results
    from medbench_leaderboard.board import Board


@hookimpl
def medbench_commands() -> Iterable[Command]:
    """Announce ``medbench leaderboard`` and ``medbench advise``."""
    return [
        Command(
            name="leaderboard",
            target="medbench_leaderboard.command:leaderboard",
            summary="Make the board of a results folder: CSV tables and one offline page.",
        ),
        Command(
            name="advise",
            target="medbench_leaderboard.command:advise",
            summary="Say which entrants remain possible as the best, and what each costs.",
        ),
    ]


@hookimpl
def medbench_build_board(results: Path, out: Path) -> str:
    """Write the board's tables and its page into ``out``; return the ranked table as text."""
    from medbench.results import load
    from medbench_leaderboard.upkeep import update_board

    return update_board(load(results), out).text


@hookimpl
def medbench_read_board(results: Results) -> Board:
    """Return the board of results that were loaded in Python."""
    from medbench_leaderboard.board import board_of

    return board_of(results)

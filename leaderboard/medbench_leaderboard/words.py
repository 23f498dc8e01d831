"""The board in plain sentences: the same ones on the page and the terminal."""

from __future__ import annotations

from medbench.metrics import READINGS
from medbench_leaderboard.board import Board, Standing
from medbench_leaderboard.label_noise import as_given_sentences
from medbench_leaderboard.names import listed, many

#: What the readings mean.
READING_WORDS = {
    "last": "mean of the last epochs: what training leaves you with",
    "selected": "the epoch best on the validation set with its noisy labels: "
    "what you can pick in practice",
    "best": "the epoch best on the test set: optimistic, not reachable in practice",
}

#: What a reader of advice must know.
ADVICE_NOTE = (
    "Each set holds the truly best entrant with the stated confidence by itself: advice for many "
    "datasets and rates is outside the level of the board's claims. Not ruled out does not mean "
    "equally good: with few seeds many entrants are left."
)

#: States of a run, and the words for several of them.
_STATES = {
    "failed": "failed",
    "timeout": "ran out of time",
    "out-of-memory": "ran out of memory",
    "skipped": "skipped, since their pretraining failed",
    "pending": "still to be run",
    "running": "running",
    "interrupted": "interrupted",
    "unreadable": "left an unreadable record",
}


def readable(name: str) -> str:
    """Return a metric's name as words."""
    known = {
        "mcc": "MCC", "brier": "Brier score", "nll": "NLL", "ece": "ECE",
        "ece_equal_mass": "ECE of equal mass",
        "macro_f1": "macro F1", "macro_auroc": "macro AUROC", "macro_ap": "macro AP",
    }  # fmt: skip
    return known.get(name, name.replace("_", " "))


def coverage(board: Board) -> list[str]:
    """Say how many runs are done, what became of the others and which blocks count."""
    counts, total = board.counts, len(board.runs)
    done = counts["done"]
    if done == 0:
        runs = many(total, "planned run")
        first = f"None of the {runs} is done yet, so there is nothing to rank."
    elif done == total:
        first = f"All {total} planned runs are done." if total > 1 else "The planned run is done."
    else:
        missing = "1 is" if total - done == 1 else f"{total - done} are"
        first = f"{done} of {many(total, 'planned run')} are done; {missing} missing."
    others = [f"{counts[state]} {words}" for state, words in _STATES.items() if counts[state]]
    sentences = [first]
    if others:
        sentences.append(f"Missing runs: {listed(others)}.")
    if done:
        sentences.append(_blocks(board))
    if absent := [str(s.entrant) for s in board.standings[board.facts.reading] if not s.done]:
        sentences.append(
            f"Without a single finished run, and so outside the ranking: {listed(absent)}."
        )
    sentences += collapsed(board)
    sentences += as_given_sentences(board.cards, board.runs)
    if board.survivors:
        order = ", ".join(str(survivor.entrant) for survivor in board.survivors[:3])
        sentences.append(
            "Failed runs change the order. If a failure ranks last in its block, the first are: "
            f"{order}."
        )
    return sentences


def collapsed(board: Board) -> list[str]:
    """Name the entrants with runs that predict one class for all test images."""
    found = [
        f"{standing.entrant} ({standing.collapsed} of {standing.done})"
        for standing in board.standings[board.facts.reading]
        if standing.collapsed
    ]
    if not found:
        return []
    return [f"Runs that predict one class for all test images: {listed(found)}."]


def leaders(board: Board) -> list[str]:
    """Name the entrants with the lowest mean rank, in one sentence where readings agree."""
    first = {reading: leading(board, reading) for reading in READINGS}
    names = {
        reading: listed([str(standing.entrant) for standing in standings])
        for reading, standings in first.items()
        if standings
    }
    sentences = []
    for name in dict.fromkeys(names.values()):
        readings = [reading for reading in names if names[reading] == name]
        verb = "have" if len(first[readings[0]]) > 1 else "has"
        ranks = listed([f"{first[reading][0].mean_rank:.2f} by {reading}" for reading in readings])
        sentences.append(f"{name} {verb} the lowest mean rank: {ranks}.")
    return sentences


def leading(board: Board, reading: str) -> list[Standing]:
    """Return the entrants in first place."""
    return [standing for standing in board.standings[reading] if standing.place == 1]


def _blocks(board: Board) -> str:
    total, counted = len(board.blocks), board.counted_blocks
    incomplete = sum(not state.complete for state in board.blocks)
    unlearnable = sum(state.learnable is False for state in board.blocks)
    if counted == total:
        return f"Mean ranks are over {'all' if total > 1 else 'the'} {many(total, 'block')}."
    reasons = []
    if incomplete:
        reasons.append(f"{incomplete} incomplete")
    if mixed := sum(not state.agreed for state in board.blocks):
        reasons.append(f"{mixed} of runs with different settings")
    if unlearnable:
        reasons.append(f"{unlearnable} with misleading labels")
    left_out = listed(reasons)
    if counted == 0:
        return f"No block counts for a mean rank yet: of {many(total, 'block')}, {left_out}."
    return f"Mean ranks are over {counted} of {many(total, 'block')}; left out: {left_out}."

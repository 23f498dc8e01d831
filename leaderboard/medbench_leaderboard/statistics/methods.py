"""The procedure as a paragraph for a paper, with the numbers of this board."""

from __future__ import annotations

from collections.abc import Mapping

from medbench_leaderboard.protocol_facts import ProtocolFacts
from medbench_leaderboard.statistics.compare import Tested
from medbench_leaderboard.statistics.findings import Friedman
from medbench_leaderboard.statistics.panel import Panel

#: What a question compares, after "compares" or "compare".
_COMPARED = {
    "pretraining": "pretexts averaged over methods",
    "pretraining-by-rate": "pretexts averaged over methods at each noise rate",
    "methods": "methods averaged over pretexts",
    "baseline": "each pretext with the baseline under the same method",
    "pairs": "all pairs of entrants",
    "blocks": "entrants inside single blocks",
}


def paragraph(
    panel: Panel,
    facts: ProtocolFacts,
    tested: Mapping[str, Tested],
    friedman: Friedman | None,
) -> str:
    """Return what was done, in the past tense, true of this board."""
    metric = facts.primary.replace("_", " ")
    seeds = sorted({len(meeting.seeds) for meeting in panel.meetings})
    between = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    reading = {
        "last": f"averaged over the last {facts.last_epochs} epochs",
        "selected": "at the epoch best on the validation set with its noisy labels",
        "best": "at the epoch best on the test set, an optimistic reading",
    }[facts.reading]
    _, repetitions = panel.repetitions()
    said = [
        f"We compared {len(panel.entrants)} entrants, each a self-supervised pretraining combined "
        f"with a method of learning with noisy labels, by {metric} on clean test labels, "
        f"{reading}, in {len(panel.meetings)} blocks (dataset, noise model and noise rate) of "
        f"{_many(len(panel.datasets), 'dataset')} with {_many(between, 'seed')} each. Blocks with "
        "missing runs and blocks in which noise leaves the true class no longer the most frequent "
        "were left out. Entrants of a block and seed shared training images, noisy labels and "
        "initial weights. Block scores are means over seeds.",
        f"The analysis was declared in the protocol before the runs, at a level of "
        f"{facts.alpha:g} for all claims together.",
    ]
    if friedman is not None:
        said.append(
            "Whether entrants differ at all was tested by Friedman's test with the correction of "
            f"Iman and Davenport (F({friedman.df[0]}, {friedman.df[1]}) = {friedman.f:.2f}, "
            f"p = {friedman.p_blocks:.2g}, Kendall's W = {friedman.kendall_w:.2f}) and, since "
            "entrants and blocks share pretrained weights, by permuting the names of pretexts and "
            "of methods within pairs of dataset and seed "
            f"(p = {friedman.p_repetitions:.2g}); the larger p-value was used."
        )
    if any(question != "blocks" for question in tested):
        nemenyi = facts.posthoc == "nemenyi" and "pairs" in tested
        said.append(
            "Paired differences were tested by the exact two-sided Wilcoxon signed-rank test, "
            f"over the {len(panel.meetings)} blocks and, since blocks that share a dataset and a "
            "seed share images and pretrained weights, over the "
            f"{len(repetitions)} pairs of dataset and seed; the larger p-value was used. P-values "
            "were adjusted within each question by Holm's step-down procedure"
            + (
                ", but for pairs of entrants, which were compared by Nemenyi's test."
                if nemenyi
                else "."
            )
        )
    if "blocks" in tested:
        said.append(
            "Inside blocks, differences paired by seed were tested by a sign-flip permutation "
            "test over seeds, adjusted by Holm's procedure."
        )
    said.append(_questions(tested, facts))
    resampled = panel.meetings[0].resampled is not None
    images = (
        " and a bootstrap of the test images or their groups "
        f"({facts.resamples} resamples, the same for all entrants)"
        if resampled
        else ""
    )
    said.append(
        f"Intervals of {1 - facts.alpha:.0%} are Student's t intervals whose variance is that over "
        f"seeds{images}, with the quantiles of Cochran and Cox"
        + (
            "; intervals for other datasets are from a cluster bootstrap over datasets."
            if len(panel.datasets) > 1
            else "."
        )
    )
    said.append(
        "As a second opinion we give the Bayesian signed-rank test with a region of practical "
        f"equivalence of {facts.rope:g}."
    )
    return " ".join(said)


def _questions(tested: Mapping[str, Tested], facts: ProtocolFacts) -> str:
    decided = [of for of in tested.values() if of.alpha > 0]
    open_ = [of for of in tested.values() if of.alpha == 0]
    words = []
    if decided:
        names = "; ".join(
            f"{_COMPARED[of.question]} ({_many(len(of.comparisons), 'comparison')})"
            for of in decided
        )
        words.append(
            f"The level was shared equally among {_many(len(decided), 'question')} that the design "
            f"can decide, {decided[0].alpha:.3g} each: {names}."
        )
    if open_:
        names = "; ".join(_COMPARED[of.question] for of in open_)
        words.append(
            f"Not decidable with so many blocks and seeds, and so without a claim: {names}."
        )
    return " ".join(words)


def _many(number: int | str, noun: str) -> str:
    return f"{number} {noun}" if str(number) == "1" else f"{number} {noun}s"

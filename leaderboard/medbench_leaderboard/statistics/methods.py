"""The procedure as a paragraph for a paper, with the numbers of this board."""

from __future__ import annotations

from collections.abc import Mapping

from medbench_leaderboard.names import many
from medbench_leaderboard.protocol_facts import ProtocolFacts
from medbench_leaderboard.statistics.compare import Tested
from medbench_leaderboard.statistics.panel import Panel

#: What a question compares.
_COMPARED = {
    "pretraining": "pretexts averaged over methods",
    "pretraining-by-rate": "pretexts averaged over methods at each noise rate",
    "methods": "methods averaged over pretexts",
    "baseline": "each pretext with the baseline under the same method",
    "pairs": "all pairs of entrants",
    "blocks": "entrants inside single blocks",
}


def paragraph(panel: Panel, facts: ProtocolFacts, tested: Mapping[str, Tested]) -> str:
    """Return what was done, in the past tense, true of this board."""
    metric = facts.primary.replace("_", " ")
    seeds = sorted({len(meeting.seeds) for meeting in panel.meetings})
    between = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    reading = {
        "last": f"averaged over the last {facts.last_epochs} epochs",
        "selected": "at the epoch best on the validation set with its noisy labels",
        "best": "at the epoch best on the test set, an optimistic reading",
    }[facts.reading]
    resampled = panel.meetings[0].resampled is not None
    sources = (
        "seeds and of test images, the latter from a bootstrap of images or their groups "
        f"({facts.resamples} resamples, the same for all entrants)"
        if resampled
        else "seeds, on the test images at hand"
    )
    said = [
        f"We compared {len(panel.entrants)} entrants, each a self-supervised pretraining combined "
        f"with a method of learning with noisy labels, by {metric} on clean test labels, "
        f"{reading}, in {len(panel.meetings)} blocks (dataset, noise model and noise rate) of "
        f"{many(len(panel.datasets), 'dataset')} with {many(between, 'seed')} each. Blocks with "
        "missing runs and blocks in which noise makes another class more frequent than the true "
        "one were left out. Entrants of a block and seed shared training images, noisy labels and "
        "initial weights.",
        "The unit of analysis was the pair of dataset and seed "
        f"({len(panel.repetitions()[0])} pairs, each averaged over its blocks), since runs of one "
        "pair share images and pretrained weights. A difference had to pass two two-sided tests: "
        "an exact sign-flip permutation test over pairs, and a t test with the variance of "
        f"{sources}, with the quantiles of Cochran and Cox. The larger p-value was adjusted "
        "within each question by Holm's procedure.",
        _sequence(tested, facts),
        f"Intervals of {1 - facts.alpha:.0%} invert the t test, without adjustment"
        + (
            "; intervals for other datasets are from a cluster bootstrap over datasets."
            if len(panel.datasets) > 1
            else "."
        ),
        "As a second opinion we give the Bayesian signed-rank test over pairs with a region of "
        f"practical equivalence of {facts.rope:g}.",
    ]
    return " ".join(said)


def _sequence(tested: Mapping[str, Tested], facts: ProtocolFacts) -> str:
    confirmed = [of for of in tested.values() if of.confirmatory and of.decidable]
    cannot = [name for name in facts.questions if name in tested and not tested[name].decidable]
    others = [of.question for of in tested.values() if not of.confirmatory and of.decidable]
    words = [
        f"The protocol names its questions in order ({', '.join(facts.questions)}); each was "
        f"tested at level {facts.alpha:g} while all comparisons of those before it were claims, "
        "so that the procedure makes a false claim on at most that share of boards."
    ]
    if confirmed:
        names = "; ".join(
            f"{_COMPARED[of.question]} ({many(len(of.comparisons), 'comparison')})"
            for of in confirmed
        )
        words.append(f"So tested: {names}.")
    if cannot:
        words.append(f"Too few pairs to decide: {', '.join(cannot)}.")
    if others:
        words.append(f"Exploratory, each at that level by itself: {', '.join(others)}.")
    return " ".join(words)

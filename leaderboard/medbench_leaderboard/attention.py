"""Attention on the board: where entrants look, compared with masks, and pictures of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medbench.attention import READINGS, by_hash
from medbench.engine.streams import numpy_stream
from medbench.metrics import LOWER_IS_BETTER
from medbench.results import Results
from medbench.store.states import DONE
from medbench_leaderboard.names import Entrant, listed, many
from medbench_leaderboard.pictures import Picture, draw_attention, find_pictures, no_picture
from medbench_leaderboard.protocol_facts import ProtocolFacts
from medbench_leaderboard.statistics.association import Association, association
from medbench_leaderboard.table import ENTRANT, grouped

#: Runs that are read; classes of a strip; pictures on a page.
MOST_RUNS, MOST_CLASSES, MOST_PICTURES = 1000, 4, 150

#: The columns of ``attention.csv`` and what they mean, in order.
COLUMNS: Mapping[str, str] = {
    "dataset": "dataset",
    **dict.fromkeys(ENTRANT, "as in leaderboard.csv"),
    "images": "which test images: all, predicted right, predicted wrong, or of a class",
    "reading": "one of medbench.attention.READINGS",
    "mean": "mean over images, noise models, rates and seeds",
    "low": "lower end of the 95 % interval by image (or group) and seed",
    "high": "upper end",
    "seeds": "number of seeds",
    "number": "number of images with a value",
}

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Mean:
    """A mean with its interval of 95 %."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Tile:
    """A test image with attention: the URL of its picture, and a text that says what it shows."""

    url: str
    caption: str
    words: str


@dataclass(frozen=True)
class FeatureMap:
    """Training images in the plane of the first two principal components of their features.

    Parameters
    ----------
    classes : tuple of (str, str)
        By class: name, and its points as the path of an SVG of 256 x 256.
    wrong : str
        Points with a wrong label, as a path; empty where nobody knows them.
    number : int
        Points.
    """

    classes: tuple[tuple[str, str], ...]
    wrong: str
    number: int


@dataclass(frozen=True)
class Looks:
    """What is shown of one entrant on one dataset.

    Parameters
    ----------
    dataset : str
        The dataset.
    entrant : Entrant
        The entrant.
    readings : mapping of str to mapping of str to Mean
        By group of images, then by reading.
    run : str
        Which run is pictured: block and seed.
    tiles : tuple of Tile
        By class the first image predicted right, and the first predicted wrong.
    features : FeatureMap, optional
        Where the record has it.
    """

    dataset: str
    entrant: Entrant
    readings: Mapping[str, Mapping[str, Mean]]
    run: str
    tiles: tuple[Tile, ...]
    features: FeatureMap | None


@dataclass(frozen=True)
class Attended:
    """What the board says of attention.

    Parameters
    ----------
    looks : tuple of Looks
        By dataset and entrant, in the plan's order.
    table : pandas.DataFrame
        Columns of :data:`COLUMNS`.
    masked : bool
        Whether any dataset has masks.
    top : float
        Share of the cells that is compared with the mask.
    notes : tuple of str
        What is missing, and why.
    association : Association
        Of the primary metric with energy, over the entrants of each block and seed; better is
        larger.
    """

    looks: tuple[Looks, ...]
    table: pd.DataFrame
    masked: bool
    top: float
    notes: tuple[str, ...]
    association: Association


def read_attended(results: Results, runs: pd.DataFrame, facts: ProtocolFacts) -> Attended | None:
    """Read where entrants look; none where the protocol does not ask for it."""
    options = results.protocol.attention
    if options is None:
        return None
    done = runs[runs["status"] == DONE]
    notes = []
    if len(done) > MOST_RUNS:
        notes.append(f"Attention is read of the first {MOST_RUNS} of {many(len(done), 'run')}.")
    rows, shown = [], []
    energy: dict[str, float] = {}
    for names, part in grouped(done[:MOST_RUNS], ["dataset", *ENTRANT]):
        dataset, entrant = str(names[0]), Entrant(*map(str, names[1:]))
        tables = []
        for key, seed in zip(part["run_key"], part["seed"], strict=True):
            if (of_run := results.run_attention(key)) is not None:
                tables.append(of_run.assign(seed=seed))
                energy[key] = float(of_run["energy"].mean())
        if not tables:
            continue
        first = part.sort_values("seed", kind="stable").iloc[0]
        classes = list(results.header(first["run_key"]).summary["classes"])
        rng = numpy_stream(facts.seed, "attention", dataset, *entrant)
        readings = _readings(pd.concat(tables, ignore_index=True), classes, facts, rng)
        seeds = part["seed"].nunique()
        rows += [
            (dataset, *entrant, images, reading, of.mean, of.low, of.high, seeds, number)
            for images, values in readings.items()
            for reading, (of, number) in values.items()
        ]
        means = {
            images: {reading: of for reading, (of, _) in values.items()}
            for images, values in readings.items()
        }
        shown.append((dataset, entrant, means, first, classes))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    keys = [str(first["run_key"]) for *_, first, _ in shown]
    tiles, more = _strips(
        results, [(of[0], key, of[-1]) for of, key in zip(shown, keys, strict=True)]
    )
    looks = tuple(
        Looks(
            dataset,
            entrant,
            means,
            f"{first['noise']} {first['rate']:g}, seed {first['seed']}",
            tiles.get(key, ()),
            _feature_map(results, key, classes),
        )
        for key, (dataset, entrant, means, first, classes) in zip(keys, shown, strict=True)
    )
    masked = bool((table["reading"] == "area").any())
    score = done[f"{facts.reading}_{facts.primary}"]
    better = -score if facts.primary in LOWER_IS_BETTER else score
    scored = done.assign(energy=done["run_key"].map(energy), score=better)
    together = association(scored, "score", "energy", numpy_stream(facts.seed, "association"))
    return Attended(looks, table, masked, options.top, (*notes, *more), together)


def _readings(
    images: pd.DataFrame, classes: Sequence[str], facts: ProtocolFacts, rng: np.random.Generator
) -> dict[str, dict[str, tuple[Mean, int]]]:
    """Return mean, interval and number of images of each reading that has a value."""
    parts = {
        "all": images,
        "predicted right": images[images["right"] == 1],
        "predicted wrong": images[images["right"] == 0],
        **{f"class {name}": images[images["label"] == i] for i, name in enumerate(classes)},
    }
    grouped_by = "group" if facts.unit == "group" and "group" in images.columns else "id"
    found: dict[str, dict[str, tuple[Mean, int]]] = {}
    for name, part in parts.items():
        found[name] = {}
        if part.empty:
            continue
        # seeds and images that two readings share are drawn once
        wide = part.groupby(["seed", "id"], sort=True)[list(READINGS)].mean().unstack("id")
        values = np.stack([wide[reading].to_numpy() for reading in READINGS])
        units = part.drop_duplicates("id").sort_values("id")[grouped_by].to_numpy()
        there = np.isfinite(values).any(axis=1).sum(axis=1)
        of = crossed(values, units, facts.resamples, rng)
        found[name] = {
            reading: (mean, int(number))
            for reading, mean, number in zip(READINGS, of, there, strict=True)
            if number
        }
    return found


def crossed(
    values: Floats, units: NDArray[Any], resamples: int, rng: np.random.Generator
) -> list[Mean]:
    """Return means of values by seed and image, and their percentile intervals of 95 %.

    Seeds and units of images are drawn independently with replacement, since all seeds are
    read on the same test images (Owen 2007).

    Parameters
    ----------
    values : ndarray of float64, shape (M, S, N)
        M readings of S seeds and N images; NaN where there is none.
    units : ndarray, shape (N,)
        Group of each image, or its id.
    resamples : int
        R, draws.
    rng : numpy.random.Generator
        Source of the draws.
    """
    _, number, _ = values.shape
    _, unit = np.unique(units, return_inverse=True)
    groups = unit.max() + 1
    seeds = rng.multinomial(number, np.full(number, 1 / number), resamples).astype(np.float64)
    images = rng.multinomial(groups, np.full(groups, 1 / groups), resamples)[:, unit]
    found = []
    for own in values:
        there = np.isfinite(own)
        weights = ((seeds @ there) * images).sum(axis=1)
        totals = ((seeds @ np.where(there, own, 0.0)) * images).sum(axis=1)
        draws = totals[weights > 0] / weights[weights > 0]
        low, high = np.quantile(draws, [0.025, 0.975]) if len(draws) else (np.nan, np.nan)
        mean = own[there].mean() if there.any() else np.nan
        found.append(Mean(float(mean), float(low), float(high)))
    return found


def strip(results: Results, key: str) -> pd.DataFrame:
    """Choose the test images that are pictured of a run, by rule and not by hand.

    Of each class, of the first four at most, the first that is predicted right and the first
    that is predicted wrong, in the order of the SHA-256 of their ids. ``place`` is their row in
    the record's maps.
    """
    table = results.run_attention(key)
    assert table is not None
    order = table.assign(place=np.arange(len(table))).iloc[by_hash(table["id"].to_numpy())]
    order = order[order["label"] < MOST_CLASSES]
    first = order.groupby(["label", "right"]).head(1)
    return first.sort_values(["label", "right"], ascending=[True, False], kind="stable")


def _strips(
    results: Results, runs: Sequence[tuple[str, str, Sequence[str]]]
) -> tuple[dict[str, tuple[Tile, ...]], list[str]]:
    """Draw the strips of runs, of dataset, key and classes; say what is missing."""
    strips: dict[str, pd.DataFrame] = {}
    room = MOST_PICTURES
    for _, key, _ in runs:
        chosen = strip(results, key)
        if len(chosen) <= room:
            strips[key] = chosen
            room -= len(chosen)
    wanted: dict[str, tuple[Mapping[str, Any], list[str]]] = {}
    for dataset, key, _ in runs:
        if key in strips:
            spec = results.header(key).spec["dataset"]
            ids = wanted.setdefault(dataset, (spec, []))[1]
            ids += [name for name in strips[key]["id"].tolist() if name not in ids]
    pictures, faults = find_pictures(wanted)
    notes = [
        f"Images of {dataset} are not at hand where this page was made ({fault}); maps are shown "
        "without them."
        for dataset, fault in faults.items()
    ]
    if left_out := len(runs) - len(strips):
        notes.append(f"{many(left_out, 'strip')} of pictures left out, for size.")
    tiles = {
        key: tuple(_tiles(results, key, dataset, strips[key], pictures, classes))
        for dataset, key, classes in runs
        if key in strips
    }
    return tiles, notes


def _tiles(
    results: Results,
    key: str,
    dataset: str,
    chosen: pd.DataFrame,
    pictures: Mapping[tuple[str, str], Picture],
    classes: Sequence[str],
) -> Iterator[Tile]:
    """Draw the strip of a run."""
    arrays = results.arrays(key, "attention/maps", "attention/masks")
    for row in chosen.to_dict("records"):
        shares = arrays["attention/masks"][row["place"]] if "attention/masks" in arrays else None
        picture = pictures.get((dataset, row["id"])) or no_picture(shares)
        true, predicted = classes[row["label"]], classes[row["predicted"]]
        right = row["label"] == row["predicted"]
        caption = f"{true}, predicted right" if right else f"{true}, predicted {predicted}"
        inside = row["energy"]
        share = f"; {inside:.0%} of the attention inside the mask" if np.isfinite(inside) else ""
        yield Tile(
            draw_attention(picture, arrays["attention/maps"][row["place"]]),
            caption,
            f"A test image of class {caption}: as it is, and with attention{share}",
        )


def _feature_map(results: Results, key: str, classes: Sequence[str]) -> FeatureMap | None:
    arrays = results.arrays(
        key, "attention/features", "train/ids", "train/clean_labels", "train/noisy_labels"
    )
    if "attention/features" not in arrays:
        return None
    places = arrays["attention/features"]
    chosen = np.sort(by_hash(arrays["train/ids"])[: len(places)])
    noisy = arrays["train/noisy_labels"][chosen]
    clean = arrays["train/clean_labels"][chosen] if "train/clean_labels" in arrays else noisy
    named = [(name, _path(places[clean == index])) for index, name in enumerate(classes)]
    return FeatureMap(tuple(named), _path(places[clean != noisy]), len(places))


def _path(points: NDArray[np.uint8]) -> str:
    """Return points as a path of lines without length, which round ends make dots."""
    return "".join(f"M{x} {255 - y}h0" for x, y in points.tolist())


def sentences(attended: Attended) -> list[str]:
    """Say for each dataset which entrant looks at the mask most, next to both chance levels."""
    found = []
    for dataset in dict.fromkeys(look.dataset for look in attended.looks):
        there = [
            look
            for look in attended.looks
            if look.dataset == dataset and "energy" in look.readings["all"]
        ]
        if not there:
            continue
        most = max(there, key=lambda look: look.readings["all"]["energy"].mean)
        of = most.readings["all"]
        above = [
            str(look.entrant)
            for look in there
            if look.readings["all"]["energy"].low > look.readings["all"]["area"].mean
        ]
        who = listed(above) if 0 < len(above) <= 3 else f"{len(above)} of {len(there)} entrants"
        found.append(
            f"{dataset}: the mask covers {of['area'].mean:.0%} of the images. {most.entrant} has "
            f"the largest share of its attention inside, {of['energy'].mean:.0%} "
            f"({of['energy'].low:.0%} to {of['energy'].high:.0%})"
            + (f"; random weights have {of['random_energy'].mean:.0%}"
               if "random_energy" in of else "")
            + f". The interval lies above the area for {who}."
        )  # fmt: skip
    together = attended.association
    if pairs := len(together.by_pair):
        found.append(
            "Do better runs look at the mask more (exploratory)? Over the runs of a block and "
            "seed, score and energy inside have a mean rank correlation of "
            f"{together.mean:+.2f} in {many(pairs, 'pair')} of dataset and seed "
            f"(p = {together.p:.3f}, sign flips over pairs, on these test images). Entrants that "
            "are equally good can show this, too, where runs that happen to be better look there "
            "more."
        )
    return found

"""Who finds planted errors: `medbench suspects` or cleanlab, on real images.

    uv run --group rivals python performance/bench_suspects.py SET... [--out suspects.csv]

SET is a dataset file (.h5), an .npz with the arrays images and labels, several of them joined
by "+", or the name of an embedded dataset. In every set, wrong labels of each kind, rate and
seed are planted, and three ways look for them:

- suspects: `medbench.suspects.scores`, as `medbench suspects` uses it;
- cleanlab-features: cleanlab with a support vector machine (Gaussian kernel), five-fold, on the
  same patch features; logistic regression was worse on other seeds;
- cleanlab-pixels: the same on the same pixels.

Each result is a row of the CSV file: AUROC, precision among the k most suspect labels (k wrong
ones were planted), seconds. Rows that are there are not computed again, so it can be run in
parts. In the end the table and the tests by pairs are printed.
"""

from __future__ import annotations

import argparse
import csv
import io
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import wilcoxon
from sklearn.metrics import roc_auc_score
from sklearn.svm import SVC

from medbench.engine.streams import numpy_stream
from medbench.interfaces.noise import CleanLabels
from medbench.suspects import Plan, scores
from medbench.suspects.features import patch_features, pixel_features, reduced
from medbench_plugins.noise.instance_dependent import InstanceDependent, InstanceDependentSettings

EMBEDDED = Path(__file__).parents[1] / "plugins/medbench_plugins/datasets/data"
KINDS = ("symmetric", "class-dependent", "instance-dependent")
COLUMNS = ("set", "images", "kind", "rate", "seed", "way", "auroc", "precision", "seconds")

Labels = NDArray[np.int64]


def load(name: str, size: int) -> tuple[NDArray[np.uint8], Labels]:
    """Return images and labels of a set, at most ``size`` of them drawn by a fixed seed."""
    parts = [_load(Path(part)) for part in name.split("+")]
    images, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    rows = np.sort(numpy_stream(0, "bench-suspects").permutation(len(labels))[:size])
    images = images if images.ndim == 4 else images[..., None]
    return np.ascontiguousarray(images[rows]), labels[rows].astype(np.int64)


def _load(path: Path) -> tuple[NDArray[np.uint8], Labels]:
    if not path.suffix:
        path = EMBEDDED / f"{path}.h5"
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            return file["images"], file["labels"]
    with h5py.File(path) as file:
        if "jpeg" not in file:
            return file["images"][:], file["labels"][:]
        coded = [Image.open(io.BytesIO(bytes(code))) for code in file["jpeg"][:]]
        return np.stack([np.asarray(image.convert("RGB")) for image in coded]), file["labels"][:]


def plant(images: NDArray[np.uint8], clean: Labels, kind: str, rate: float, seed: int) -> Labels:
    """Return labels of which a share ``rate`` is wrong.

    Class-dependent: each class is confused with one other only, and with unequal rates.
    """
    classes = int(clean.max()) + 1
    rng = numpy_stream(seed, "bench-suspects-noise", kind, rate)
    if kind == "instance-dependent":
        model = InstanceDependent(kind, InstanceDependentSettings())
        names = tuple(map(str, range(classes)))
        return model.corrupt(CleanLabels(clean, names, "bench", images), rate, rng)
    if kind == "symmetric":
        rates = np.full(classes, rate)
        shift = rng.integers(1, classes, len(clean))
    else:
        rates = rng.uniform(0.5, 1.5, classes)
        rates *= rate / (np.bincount(clean, minlength=classes) / len(clean) @ rates)
        shift = rng.integers(1, classes, classes)[clean]
    return np.where(rng.random(len(clean)) < rates[clean], (clean + shift) % classes, clean)


def patches(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    plan = Plan.within(len(images))
    return np.concatenate(patch_features(reduced(images, plan.side), plan.filters, 0), axis=1)


def pixels(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return pixel_features(reduced(images, Plan.within(len(images)).pixels))


def by_cleanlab(features: NDArray[np.float32], labels: Labels) -> NDArray[np.float64]:
    from cleanlab.classification import CleanLearning

    gamma = 1 / (features.shape[1] * features.var())
    learner = SVC(probability=True, gamma=gamma, random_state=0)
    if features.shape[1] > len(features):  # rotated: the same distances, fewer columns
        left, sizes, _ = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)
        features = left * sizes
    with warnings.catch_warnings(action="ignore"):
        found = CleanLearning(learner, cv_n_folds=5, seed=0).find_label_issues(features, labels)
    return 1 - found["label_quality"].to_numpy()


RIVALS: dict[str, Callable[[NDArray[np.uint8]], NDArray[np.float32]]] = {
    "cleanlab-features": patches,
    "cleanlab-pixels": pixels,
}
WAYS = ("suspects", *RIVALS)


def measure(arguments: argparse.Namespace) -> None:
    """Compute the rows that are missing and append them, one by one."""
    out: Path = arguments.out
    if not out.exists():
        out.write_text(",".join(COLUMNS) + "\n")
    done = set(
        pd.read_csv(out)[["set", "kind", "rate", "seed", "way"]].itertuples(index=False, name=None)
    )
    for name in arguments.sets:
        short = "+".join(Path(part).stem for part in name.split("+"))
        images, clean = load(name, arguments.size)
        classes = int(clean.max()) + 1
        features, needed = {}, {}
        for way in RIVALS:  # once for all labels; their time counts each time
            began = time.perf_counter()
            features[way] = RIVALS[way](images)
            needed[way] = time.perf_counter() - began
        grid = [
            (k, r, s) for s in arguments.seeds for r in arguments.rates for k in arguments.kinds
        ]
        for kind, rate, seed in grid:
            labels = plant(images, clean, kind, rate, seed)
            wrong = labels != clean
            for way in arguments.ways:
                if (short, kind, rate, seed, way) in done:
                    continue
                began = time.perf_counter()
                if way in RIVALS:
                    suspicion = by_cleanlab(features[way], labels)
                else:
                    suspicion = scores(images, labels, classes).probability_wrong
                seconds = time.perf_counter() - began + needed.get(way, 0)
                top = np.argsort(-suspicion, kind="stable")[: wrong.sum()]
                auroc, precision = roc_auc_score(wrong, suspicion), wrong[top].mean()
                row = (short, len(clean), kind, rate, seed, way)
                with out.open("a", newline="") as stream:
                    values = f"{auroc:.5f}", f"{precision:.5f}", f"{seconds:.2f}"
                    csv.writer(stream, lineterminator="\n").writerow([*row, *values])
                print(*row, *values, flush=True)


def report(out: Path) -> None:
    """Print means over sets, and the tests by pairs."""
    rows = pd.read_csv(out)
    values = ["auroc", "precision", "seconds"]
    for axis in ("set", "kind", "rate", None):
        by = [axis] if axis else []
        sets = rows.groupby([*{"set", *by}, "way"])[values].mean()
        print(sets.groupby([*by, "way"]).mean().unstack("way").round(3).to_string())
    for value in ("auroc", "precision"):
        table = rows.pivot_table(index=["set", "kind", "rate"], columns="way", values=value)
        for rival in [way for way in table.columns if way != "suspects"]:
            both = table[["suspects", rival]].dropna()
            gain = both["suspects"] - both[rival]
            by_set = gain.groupby("set").mean()
            print(
                f"{value}: suspects - {rival} {gain.mean():+.4f}, better on {(by_set > 0).sum()} of"
                f" {len(by_set)} sets; Wilcoxon p = {wilcoxon(by_set).pvalue:.4f} over sets,"
                f" {wilcoxon(gain).pvalue:.2g} over {len(gain)} cells"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("sets", nargs="*", help="dataset files, .npz files, embedded names")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--rates", nargs="+", type=float, default=(0.05, 0.1, 0.2))
    parser.add_argument("--seeds", nargs="+", type=int, default=(0, 1, 2))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--size", type=int, default=10**9, help="most images of a set")
    parser.add_argument("--out", type=Path, default=Path("suspects-bench.csv"))
    arguments = parser.parse_args()
    measure(arguments)
    report(arguments.out)


if __name__ == "__main__":
    main()

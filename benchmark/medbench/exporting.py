"""Results in the schema of Every Eval Ever, a shared collection of evaluations.

Its schema 0.3.0 (https://github.com/evaleval/every_eval_ever): a JSON file for each system, here
an entrant. It was made for language models; what it has no field for is in ``additional_details``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import medbench
from medbench.metrics import LOWER_IS_BETTER
from medbench.results import Results
from medbench.store.atomic import write_text
from medbench.store.states import DONE

SCHEMA = "0.3.0"

#: Lowest and highest value of metrics that do not lie between 0 and 1.
_RANGES = {"mcc": (-1.0, 1.0), "brier": (0.0, 2.0), "nll": (0.0, 27.7)}


def write_evaluations(results: Results, folder: Path, about: Mapping[str, Any]) -> list[Path]:
    """Write a file for each entrant; returns them.

    Parameters
    ----------
    results : Results
        Of one results folder.
    folder : pathlib.Path
        Where; made if it is not there.
    about : mapping
        What a submission says: ``authors``, ``registered``, ``registration``, ``oracle``.
    """
    runs = results.runs[results.runs["status"] == DONE]
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for (pretext, method), part in runs.groupby(["pretext", "method"], sort=False):
        name = re.sub(r"[^\w.-]", "_", f"{pretext}+{method}".replace("+", "__"))
        path = folder / f"{name}.json"
        values = evaluation(results, str(pretext), str(method), part, about)
        write_text(path, json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        paths.append(path)
    return paths


def evaluation(
    results: Results, pretext: str, method: str, runs: Any, about: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the evaluation of one entrant: a result a block, the mean over seeds."""
    blocks = runs.groupby(["dataset", "noise", "rate"], sort=False)
    when = str(datetime.fromisoformat(about["registered"]).timestamp())
    system = f"{pretext}+{method}"
    authors = ", ".join(about["authors"])
    return {
        "schema_version": SCHEMA,
        "evaluation_id": f"medbench-{results.protocol.name}/{system}/{when}",
        "retrieved_timestamp": when,
        "source_metadata": {
            "source_name": "medbench",
            "source_type": "evaluation_run",
            "source_organization_name": authors,
            "evaluator_relationship": "third_party",
            "additional_details": {"registration": about["registration"]},
        },
        "eval_library": {"name": "medbench", "version": medbench.__version__},
        "model_info": {
            "name": system,
            "id": f"medbench/{system}",
            "additional_details": {
                "deployment_type": "self_deployed",
                "model_availability": "unknown",
                "pretext": pretext,
                "method": method,
                "backbone": results.protocol.backbone.name,
                "oracle": "yes" if method in about["oracle"] else "no",
            },
        },
        "evaluation_results": [
            _result(results, dataset, noise, float(rate), part)
            for (dataset, noise, rate), part in blocks
        ],
    }


def _result(results: Results, dataset: str, noise: str, rate: float, runs: Any) -> dict[str, Any]:
    primary = results.protocol.evaluation.primary
    reading = results.protocol.statistics.reading
    scores = runs[f"{reading}_{primary}"].astype(float)
    low, high = _RANGES.get(primary, (0.0, 1.0))
    card = results.cards.get(dataset, {})
    source = {"dataset_name": dataset, "source_type": "other"}
    details = {
        name: str(card[name]) for name in ("title", "source", "content_hash") if name in card
    }
    uncertainty: dict[str, Any] = {"num_samples": len(scores)}
    if len(scores) > 1:
        deviation = float(scores.std())
        error = {"value": deviation / len(scores) ** 0.5, "method": "analytic, over seeds"}
        uncertainty |= {"standard_deviation": deviation, "standard_error": error}
    return {
        "evaluation_name": f"{dataset}, {noise} {rate:g}",
        "source_data": {**source, "additional_details": details},
        "metric_config": {
            "evaluation_description": f"{primary} of the reading {reading}, trained on labels with "
            f"{noise} noise at {rate:g}",
            "metric_id": primary,
            "lower_is_better": primary in LOWER_IS_BETTER,
            "score_type": "continuous",
            "min_score": low,
            "max_score": high,
        },
        "score_details": {
            "score": float(scores.mean()),
            "details": {"seeds": str(len(scores)), "reading": reading},
            "uncertainty": uncertainty,
        },
    }

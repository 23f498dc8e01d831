"""Croissant metadata: valid by the reference implementation, and as the card says."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))

from commandline import medbench

from medbench.data.croissant import croissant
from medbench.interfaces.dataset import DatasetCard

mlcroissant = pytest.importorskip("mlcroissant")


@pytest.mark.parametrize(
    "name", ["pneumonia-mnist", "busi-mini", "covid-qu-ex-mini", "kather-texture-mini"]
)
def test_the_metadata_of_embedded_datasets_are_valid(name: str, tmp_path: Path) -> None:
    values = medbench("data", "croissant", name).json
    found = mlcroissant.Dataset(jsonld=values)  # raises where the metadata are not valid
    assert not found.metadata.ctx.issues.warnings, found.metadata.ctx.issues.report()
    card = next(
        row["card"] for row in medbench("data", "list", "--json").json if row["name"] == name
    )
    assert found.metadata.cite_as == card["citation"]
    assert found.metadata.license == [card["licence"]]
    classes = [str(record["classes/name"]) for record in found.records("classes")]
    assert classes == card["class_names"]
    assert set(card["confounders"]) <= set(values["rai:dataLimitations"])


def test_the_file_is_named_with_its_hash_and_size(tmp_path: Path) -> None:
    file = tmp_path / "own.h5"
    file.write_bytes(b"some bytes")
    sizes = {"train": 2, "validation": 1, "test": 1}
    card = DatasetCard(
        "own", "Own images", "X-ray", ("no", "yes"), (8, 8, 1), sizes,
        "CC0", "not stated", "the user's own images", content_hash="ab" * 32, trusted=("test",),
    )  # fmt: skip
    values = json.loads(json.dumps(croissant(card, file)))
    assert mlcroissant.Dataset(jsonld=values).metadata.name == "own"
    (distribution,) = values["distribution"]
    assert distribution["sha256"] == hashlib.sha256(b"some bytes").hexdigest()
    assert distribution["contentSize"] == "10 B"
    assert (
        "Labels: as given in train, validation; they may be wrong." in values["rai:dataLimitations"]
    )
    assert "url" not in values

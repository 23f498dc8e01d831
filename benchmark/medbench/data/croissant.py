"""Dataset cards as Croissant metadata: JSON-LD that dataset catalogues read.

Croissant 1.1 with the vocabulary for responsible AI 1.0 (https://docs.mlcommons.org/croissant).
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from medbench.citing import Reference
from medbench.interfaces.dataset import SPLITS, DatasetCard

#: The context that the specification prescribes.
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataBiases": "cr:dataBiases",
    "dataCollection": "cr:dataCollection",
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "personalSensitiveInformation": "cr:personalSensitiveInformation",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def croissant(card: DatasetCard, file: Path | None = None) -> dict[str, Any]:
    """Return the metadata of a dataset.

    Parameters
    ----------
    card : DatasetCard
        Its card.
    file : pathlib.Path, optional
        The file that holds it, hashed here.
    """
    height, width, channels = card.image_shape
    sizes = ", ".join(f"{count} {split}" for split, count in card.split_sizes.items())
    notes = [f"Labels: {card.label_words}."]
    if card.group_meaning:
        notes.append(f"Groups: {card.group_meaning}.")
    metadata = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": card.name,
        "description": (
            f"{card.title}. {card.modality}, {height} x {width} px, "
            f"{'grey' if channels == 1 else 'colour'}, {card.num_classes} classes; {sizes} images."
        ),
        "license": card.licence,
        "citeAs": card.citation,
        "datePublished": Reference((), card.citation).year,
        "url": next((w.strip("(),;") for w in card.source.split() if "://" in w), None),
        "version": f"1.0.0+{card.content_hash[:12]}",
        "isLiveDataset": False,
        "rai:dataCollection": card.source,
        "rai:dataLimitations": [*notes, *card.confounders],
        "distribution": [_distribution(file)] if file else [],
        "recordSet": [
            _listed("classes", "Classes, in the order of the labels", card.class_names),
            _listed("splits", "Splits, in the order of their codes", tuple(SPLITS)),
        ],
    }  # fmt: skip
    return {name: value for name, value in metadata.items() if value not in (None, [], "")}


def _distribution(file: Path) -> dict[str, Any]:
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return {
        "@type": "cr:FileObject",
        "@id": file.name,
        "name": file.name,
        "description": "Images, labels, splits and ids in the layout of medbench",
        "contentUrl": file.name,
        "contentSize": f"{file.stat().st_size} B",
        "encodingFormat": "application/x-hdf5",
        "sha256": digest,
    }


def _listed(name: str, description: str, words: tuple[str, ...]) -> dict[str, Any]:
    """Return a record set with its content: a number and a name a record."""
    field = {"@type": "cr:Field"}
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": description,
        "dataType": "sc:Enumeration",
        "key": {"@id": f"{name}/number"},
        "field": [
            {**field, "@id": f"{name}/number", "name": "number", "dataType": "sc:Integer"},
            {**field, "@id": f"{name}/name", "name": "name", "dataType": "sc:Text"},
        ],
        "data": [
            {f"{name}/number": number, f"{name}/name": word} for number, word in enumerate(words)
        ],
    }

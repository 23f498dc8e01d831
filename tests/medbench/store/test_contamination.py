from __future__ import annotations

from typing import Any

import pytest

from medbench.store.contamination import contamination, weights_seen

CARD = {"name": "kather-texture-mini", "title": "Colorectal cancer textures"}


def step(parent: Any = None, **settings: Any) -> dict[str, Any]:
    return {"pretext": {"plugin": "any", "settings": settings}, "parent": parent}


def spec(pretraining: Any, dataset: str = "kather-texture-mini") -> dict[str, Any]:
    return {"dataset": {"name": dataset, "plugin": dataset}, "pretraining": pretraining}


def test_weights_of_ones_own_are_not_from_elsewhere() -> None:
    for own in (None, step(), step(step(), epochs=3)):
        assert weights_seen(spec(own)) is None
        assert contamination(spec(own), CARD) is None


@pytest.mark.parametrize(
    ("seen", "found"),
    [
        ([], "not stated"),
        (["ImageNet-1k"], "no"),
        (["kather-texture-mini"], "seen"),
        (["ImageNet-1k", "Kather texture"], "seen"),
        (["kather_texture_mini_extended"], "seen"),
        (["colorectal cancer textures"], "seen"),
        (["kather"], "seen"),  # a short name is taken for the family
        (["kath"], "no"),
        (["mini"], "no"),
    ],
)
def test_names_are_compared_word_by_word(seen: list[str], found: str) -> None:
    assert contamination(spec(step(seen=seen)), CARD) == found
    assert weights_seen(spec(step(seen=seen))) == seen


def test_the_member_of_a_family_of_datasets_is_known_by_its_own_name() -> None:
    of = spec(step(seen=["PathMNIST"]), "medmnist:pathmnist")
    assert contamination(of, {}) == "seen"


def test_all_steps_of_a_curriculum_count() -> None:
    first = step(seen=["ImageNet-1k"])
    assert contamination(spec(step(first)), CARD) == "no"
    assert contamination(spec(step(first, seen=[])), CARD) == "not stated"
    assert contamination(spec(step(first, seen=["kather-texture"])), CARD) == "seen"
    assert weights_seen(spec(step(first, seen=["other"]))) == ["other", "ImageNet-1k"]

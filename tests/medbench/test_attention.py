"""Readings of attention against masks: hand-worked values, slow computations, chance levels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import spearmanr

from medbench.attention import (
    balanced,
    by_hash,
    energy,
    grid_side,
    pointing,
    quantised,
    rank_correlation,
    read_attention,
    read_images,
    to_cells,
    top_iou,
)

MAP = np.array([[[4, 0], [3, 3]]], np.uint8)
SHARE = np.array([[[1.0, 0.0], [0.5, 0.0]]])

some_maps = arrays(np.uint8, (3, 4, 4), elements=st.integers(0, 5))
some_shares = arrays(np.float64, (3, 4, 4), elements=st.floats(0, 1))


def test_readings_by_hand() -> None:
    assert energy(MAP, SHARE) == (4 + 1.5) / 10
    assert pointing(MAP, SHARE) == 1
    # the two largest are 4 and, of the two threes, a half each
    iou, chance = top_iou(MAP, SHARE, 0.5)
    assert iou == (1 + 0.25) / (2 + 1.5 - 1.25)
    # shifted right by one: [[0, 1], [.5, .5]]; down: [[.5, .5], [1, 0]]; both: [[.5, .5], [0, 1]]
    each = [i / (3.5 - i) for i in (1.25, 0.25, 1.0, 0.5)]
    np.testing.assert_allclose(chance, np.mean(each))


def test_several_largest_cells_count_by_their_mean() -> None:
    assert pointing(np.array([[[7, 7], [7, 0]]]), SHARE) == pytest.approx(0.5)


def test_a_map_without_attention_has_no_readings() -> None:
    nothing = np.zeros((1, 2, 2), np.uint8)
    for values in (energy(nothing, SHARE), pointing(nothing, SHARE), *top_iou(nothing, SHARE, 0.2)):
        assert np.isnan(values).all()


@given(some_maps, some_shares)
@settings(max_examples=30)
def test_over_all_shifts_energy_and_pointing_are_the_area(
    maps: np.ndarray, shares: np.ndarray
) -> None:
    maps[:, 0, 0] += 1  # never empty
    area = shares.mean(axis=(1, 2))
    for reading in (energy, pointing):
        values = [reading(np.roll(maps, shift, axis=(1, 2)), shares) for shift in np.ndindex(4, 4)]
        np.testing.assert_allclose(np.mean(values, axis=0), area, atol=1e-12)


@given(some_maps, some_shares, st.floats(0.01, 1))
@settings(max_examples=30)
def test_iou_is_a_share_and_the_whole_image_is_its_own_chance(
    maps: np.ndarray, shares: np.ndarray, top: float
) -> None:
    maps[:, 0, 0] += 1
    iou, chance = top_iou(maps, shares, top)
    assert ((iou >= 0) & (iou <= 1) & (chance >= 0) & (chance <= 1)).all()
    everything, its_chance = top_iou(maps, shares, 1.0)
    np.testing.assert_allclose(everything, shares.mean(axis=(1, 2)), atol=1e-12)
    np.testing.assert_allclose(its_chance, everything, atol=1e-12)


def test_attention_drawn_at_random_scores_at_its_area_within_its_interval() -> None:
    rng = np.random.default_rng(5)
    shares = to_cells(rng.random((4000, 32, 32)) < np.linspace(0, 1, 32), 8, 8)
    maps = quantised(rng.random((4000, 8, 8)) ** 2)
    area = shares.mean(axis=(1, 2))
    iou, chance = top_iou(maps, shares, 0.2)
    for values, level in (
        (energy(maps, shares), area), (pointing(maps, shares), area), (iou, chance),
    ):  # fmt: skip
        difference = values - level
        half = 1.96 * difference.std() / np.sqrt(len(difference))
        assert abs(difference.mean()) < half
        assert half < 0.02


def test_cells_divide_pixels() -> None:
    mask = np.array([[[1, 0, 1]]], np.uint8)
    np.testing.assert_allclose(to_cells(mask, 1, 2), [[[2 / 3, 2 / 3]]])
    np.testing.assert_allclose(to_cells(mask, 1, 3), mask)
    fine = np.random.default_rng(0).random((2, 12, 12))
    coarse = fine.reshape(2, 4, 3, 4, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(to_cells(fine, 4, 4), coarse)


@given(st.integers(1, 200))
def test_maps_are_averaged_to_at_most_eight_cells(side: int) -> None:
    assert 1 <= grid_side(side) <= 8
    assert grid_side(side) == side or side > 8
    assert [grid_side(of) for of in (7, 14, 16, 56)] == [7, 7, 8, 8]


def test_rank_correlation_is_that_of_scipy() -> None:
    rng = np.random.default_rng(1)
    one, other = rng.integers(0, 4, (2, 5, 4, 4))
    expected = [spearmanr(a.ravel(), b.ravel())[0] for a, b in zip(one, other, strict=True)]
    np.testing.assert_allclose(rank_correlation(one, other), expected)
    assert np.isnan(rank_correlation(np.ones((1, 2, 2)), other[:1, :2, :2])).all()


def test_images_are_chosen_by_class_in_turn_and_fewer_are_some_of_more() -> None:
    ids = np.array([f"image-{i}" for i in range(40)])
    labels = np.array([0] * 30 + [1] * 8 + [2] * 2)
    assert sorted(by_hash(ids)) == list(range(40))
    chosen = balanced(ids, labels, 12)
    assert np.bincount(labels[chosen]).tolist() == [5, 5, 2]
    assert (np.diff(chosen) > 0).all()
    assert set(balanced(ids, labels, 7)) < set(chosen)
    assert balanced(ids, labels, 100).tolist() == list(range(40))
    # neither the order nor other images matter
    order = np.random.default_rng(2).permutation(40)
    again = balanced(ids[order], labels[order], 12)
    assert set(ids[order][again]) == set(ids[chosen])


def record(number: int = 6, checked: int = 2) -> dict[str, np.ndarray]:
    """Arrays of a record in which attention lies inside the mask, and random attention outside."""
    mask = np.zeros((number, 2, 2), np.uint8)
    mask[:, 0] = 255
    maps = np.zeros_like(mask)
    maps[:, 0, 0] = 255
    labels = np.arange(number) % 2
    right = np.eye(2)[labels]
    wrong = right.copy()
    wrong[0] = wrong[0, ::-1]
    return {
        "test/ids": np.array([f"i{i}" for i in range(number)]),
        "test/labels": labels,
        "test/probabilities": np.stack([right, wrong]),
        "attention/maps": maps,
        "attention/random": maps[:, ::-1],
        "attention/occlusion": maps[:checked],
        "attention/masks": mask,
        "attention/blanked": np.stack([right, 1 - right]),
    }


def test_a_record_is_read_by_image_class_and_prediction() -> None:
    found = read_attention(record(), 0.25)
    assert (found["images"], found["masked"], found["flat"], found["grid"]) == (6, 6, 0, [2, 2])
    overall = found["all"]
    assert overall["right"] == pytest.approx(5 / 6)
    assert (overall["area"], overall["energy"], overall["pointing"]) == (0.5, 1, 1)
    assert (overall["iou"], overall["iou_chance"]) == (0.5, 0.25)
    assert (overall["random_energy"], overall["random_pointing"]) == (0, 0)
    assert (overall["with_occlusion"], overall["inside_right"], overall["outside_right"]) == (
        1,
        1,
        0,
    )
    assert overall["with_random"] == pytest.approx(-1 / 3)
    assert found["wrong"]["right"] == 0
    assert found["wrong"]["energy"] == 1
    assert found["by_class"][1]["right"] == 1
    assert len(found["by_class"]) == 2


def test_empty_masks_are_in_no_reading_against_masks() -> None:
    arrays = record()
    arrays["attention/masks"][:3] = 0
    arrays["attention/masks"][3] = 255
    found = read_attention(arrays, 0.25)
    assert found["masked"] == 2
    assert found["all"]["energy"] == 1
    assert np.isnan(read_images(arrays, 0.25)["inside_right"][:4]).all()
    assert found["all"]["right"] == pytest.approx(5 / 6)


def test_without_masks_there_is_agreement_only() -> None:
    arrays = record()
    del arrays["attention/masks"], arrays["attention/blanked"]
    found = read_attention(arrays, 0.25)
    assert found["masked"] == 0
    assert found["all"]["energy"] is None
    assert found["all"]["with_occlusion"] == 1


def test_without_a_check_nothing_agrees() -> None:
    arrays = record()
    del arrays["attention/occlusion"]
    found = read_attention(arrays, 0.25)["all"]
    assert found["with_occlusion"] is None
    assert found["occlusion_energy"] is None
    assert found["energy"] == 1

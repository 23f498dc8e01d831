"""Named streams: seeds against a SHA-256 made by hand, and independence of one another."""

import hashlib
import json
import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medbench.engine.streams import derive_seed, numpy_stream, torch_stream

axes = st.lists(
    st.one_of(
        st.text(st.characters(codec="utf-8"), max_size=8),
        st.integers(-(2**40), 2**40),
        st.floats(allow_nan=False, allow_infinity=False),
    ),
    max_size=4,
)


def test_a_seed_is_the_sha256_made_by_hand() -> None:
    text = '["medbench-stream-1",7,"noise","train","x-rays",0.3,2]'
    expected = int(hashlib.sha256(text.encode()).hexdigest()[:16], 16) // 2
    assert derive_seed(7, "noise", "train", "x-rays", 0.3, 2) == expected


@given(st.integers(0, 2**63), st.text(st.characters(codec="utf-8"), max_size=8), axes)
def test_a_seed_has_63_bits_of_the_sha256_of_its_name(root, purpose, parts) -> None:
    text = json.dumps(
        ["medbench-stream-1", root, purpose, *parts], separators=(",", ":"), ensure_ascii=False
    )
    first = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    seed = derive_seed(root, purpose, *parts)
    assert seed == first >> 1
    assert 0 <= seed < 2**63


def test_streams_differ_in_every_part_of_their_name() -> None:
    names = [
        (0, "a"), (1, "a"), (0, "b"), (0, "a", 0), (0, "a", "0"), (0, "a", 0.0), (0, "a", 0, 1),
        (0, "a", 1, 0), (0, "a", 10), (0, "a", "1,0"), (0, 'a","b'), (0, "a", "b"), (0, "ab"),
    ]  # fmt: skip
    assert len({derive_seed(*name) for name in names}) == len(names)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_has_no_name_has_no_stream(bad: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        derive_seed(0, "a", bad)


def test_a_stream_does_not_depend_on_what_was_drawn_before() -> None:
    alone = numpy_stream(0, "b", 1).random(5), torch.rand(5, generator=torch_stream(0, "b", 1))
    numpy_stream(0, "a").random(1000)
    torch.rand(1000, generator=torch_stream(0, "a"))
    again = numpy_stream(0, "b", 1).random(5), torch.rand(5, generator=torch_stream(0, "b", 1))
    np.testing.assert_array_equal(alone[0], again[0])
    assert torch.equal(alone[1], again[1])


def test_streams_are_the_libraries_generators_at_the_seed() -> None:
    seed = derive_seed(5, "x", "y")
    np.testing.assert_array_equal(
        numpy_stream(5, "x", "y").random(4),
        np.random.Generator(np.random.PCG64(seed)).random(4),
    )
    expected = torch.rand(4, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(torch.rand(4, generator=torch_stream(5, "x", "y")), expected)


def test_global_generators_are_not_touched() -> None:
    def states():
        legacy = np.random.get_state()  # noqa: NPY002 - it is this generator that is watched
        return torch.get_rng_state().tolist(), legacy[1].tolist(), legacy[2], random.getstate()

    before = states()
    numpy_stream(0, "a").random(3)
    torch.rand(3, generator=torch_stream(0, "a"))
    assert states() == before

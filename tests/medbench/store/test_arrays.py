"""The container of arrays: exact for all it takes, and clear about what it does not take."""

from __future__ import annotations

import contextlib
import math
import struct
import subprocess
import sys
from collections import OrderedDict, deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from torch import Tensor

from medbench.store.arrays import (
    UnstorableError,
    dumps,
    load_file,
    load_metadata,
    loads,
    save_file,
)


def back(value: Any) -> Any:
    return loads(dumps(value))


def same(first: Any, second: Any) -> bool:
    """Compare bit for bit, types included."""
    if type(first) is not type(second):
        return False
    if isinstance(first, dict):
        return list(first) == list(second) and all(same(first[k], second[k]) for k in first)
    if isinstance(first, (list, tuple, deque)):
        return len(first) == len(second) and all(map(same, first, second))
    if isinstance(first, Tensor):
        return (
            (first.dtype, first.shape, first.stride())
            == (second.dtype, second.shape, second.stride())
            and first.requires_grad == second.requires_grad
            and first.detach().contiguous().reshape(-1).view(torch.uint8).tolist()
            == second.detach().contiguous().reshape(-1).view(torch.uint8).tolist()
        )
    if isinstance(first, (np.ndarray, np.generic)):
        return (first.dtype, first.shape, first.tobytes()) == (
            second.dtype,
            second.shape,
            second.tobytes(),
        )
    if isinstance(first, float):
        return struct.pack("d", first) == struct.pack("d", second) or (
            math.isnan(first) and math.isnan(second)
        )
    return bool(first == second)


ARRAYS = nps.arrays(
    st.sampled_from([np.float32, np.float64, np.int16, np.int64, np.bool_, np.complex64, "U3"]),
    nps.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary(max_size=20)
    | ARRAYS
)
STATES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.lists(inner, max_size=3).map(lambda items: deque(items, 3))
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(STATES)
def test_what_comes_out_is_what_went_in(value: Any) -> None:
    assert same(back(value), value)


@pytest.mark.parametrize(
    "dtype",
    [
        *(torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64),
        *(torch.uint8, torch.bool, torch.complex64),
    ],
)
@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (2, 3, 4, 5)])
def test_tensors_keep_their_bits(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    tensor = (torch.rand(shape) * 9).to(dtype)
    assert same(back(tensor), tensor)


def test_a_tensor_keeps_the_order_of_its_axes_in_memory() -> None:
    # fused optimisers go through weights and momenta side by side as they lie in memory
    images = torch.rand(4, 3, 5, 6).to(memory_format=torch.channels_last)
    assert back(images).stride() == images.stride()
    turned = torch.rand(3, 4).t()
    assert back(turned).stride() == turned.stride()


def test_parameters_stay_parameters_and_know_whether_they_are_trained() -> None:
    for trained in (True, False):
        found = back(torch.nn.Parameter(torch.rand(3), trained))
        assert isinstance(found, torch.nn.Parameter)
        assert found.requires_grad == trained
    assert back(torch.rand(3, requires_grad=True)).requires_grad


def test_nan_keeps_its_bits_in_arrays() -> None:
    odd = np.array([0x7FC00123, 0xFF800001], np.uint32).view(np.float32)
    assert back(odd).tobytes() == odd.tobytes()


def test_what_is_packed_does_not_change_with_the_value() -> None:
    tensor, array = torch.zeros(3), np.zeros(3)
    content = dumps({"tensor": tensor, "array": array})
    tensor += 1
    array += 1
    found = loads(content)
    assert found["tensor"].tolist() == found["array"].tolist() == [0, 0, 0]
    found["array"] += 5
    assert loads(content)["array"].tolist() == [0, 0, 0]


def test_an_ordered_dict_and_a_set_come_back() -> None:
    assert back(OrderedDict(b=1, a=2)) == {"b": 1, "a": 2}
    assert back({1, 2, 3}) == {1, 2, 3}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [1, {"f": len}]}, "state.a[1].f is a builtin_function_or_method"),
        ({"o": np.array([object()])}, "state.o is an array of object"),
        ({"s": torch.eye(3).to_sparse()}, "state.s is a sparse or quantised tensor"),
        ([torch.device("cpu")], "state[0] is a device"),
    ],
)
def test_what_cannot_be_kept_is_named(value: Any, message: str) -> None:
    with pytest.raises(UnstorableError) as caught:
        dumps(value)
    assert message in str(caught.value)


def test_messages_need_no_torch() -> None:
    code = (
        "import sys, numpy; from medbench.store.arrays import dumps, loads;"
        "assert loads(dumps({'a': numpy.arange(3)}))['a'].tolist() == [0, 1, 2];"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


TREE = {
    "network": {"conv.weight": torch.arange(24.0).reshape(2, 3, 4), "steps": np.array(3)},
    "half": torch.ones(3, dtype=torch.bfloat16),
    "flags": np.array([True, False]),
    "names": np.array(["a", "bc"]),
    "rate": 0.5,
}


def test_others_read_the_arrays_by_name(tmp_path: Path) -> None:
    save_file(tmp_path / "x.safetensors", TREE, "", {"format": "7"})
    assert load_metadata(tmp_path / "x.safetensors")["format"] == "7"
    found = safetensors.torch.load_file(tmp_path / "x.safetensors")
    assert torch.equal(found["network.conv.weight"], TREE["network"]["conv.weight"])
    assert torch.equal(found["half"], TREE["half"])
    assert found["network.steps"].item() == 3
    assert found["flags"].tolist() == [True, False]
    assert same(load_file(tmp_path / "x.safetensors"), TREE)


def test_every_altered_byte_and_every_lost_one_is_found(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file(path, TREE)
    content = path.read_bytes()
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with contextlib.suppress(OSError, EOFError, ValueError, KeyError, TypeError):
            assert same(load_file(path), TREE), f"byte {place}"
    for length in range(0, len(content), 13):
        path.write_bytes(content[:length])
        with pytest.raises((OSError, EOFError, ValueError, KeyError, TypeError)):
            load_file(path)
    path.write_bytes(content + b"x")
    with pytest.raises(ValueError, match="not those that were written"):
        load_file(path)


def test_a_header_that_claims_much_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes((2**62).to_bytes(8, "little") + b"{}")
    with pytest.raises(ValueError, match="too long"):
        load_file(path)

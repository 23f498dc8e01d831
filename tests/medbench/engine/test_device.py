"""One visible GPU a run; what needs no GPU to be tested."""

from __future__ import annotations

import pytest

from medbench.engine.device import visible_alone


@pytest.mark.parametrize(
    ("device", "visible", "alone"),
    [
        ("cuda:0", None, "0"),
        ("cuda:3", None, "3"),
        ("cuda:3", "", "3"),
        ("cuda:0", "2,5", "2"),
        ("cuda:1", "2, 5", "5"),
        ("cuda:1", "GPU-8932f937,GPU-46a32cc3", "GPU-46a32cc3"),
        ("cuda:0", "MIG-3f/1/0", "MIG-3f/1/0"),
    ],
)
def test_the_nth_visible_gpu_is_the_only_one(device: str, visible: str | None, alone: str) -> None:
    assert visible_alone(device, visible) == alone

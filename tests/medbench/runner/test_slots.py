"""Which device each job gets, for jobs that come and go in any order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medbench.runner.slots import DeviceSlots


def test_four_jobs_on_two_gpus_are_two_each_in_turn() -> None:
    slots = DeviceSlots(["cuda:0", "cuda:1"], 4)
    assert [slots.acquire(key) for key in "abcde"] == ["cuda:0", "cuda:1", "cuda:0", "cuda:1", None]
    assert not slots.free
    slots.release("b")
    assert slots.free
    assert slots.acquire("f") == "cuda:1", "where there are fewest"
    slots.release("a")
    slots.release("d")
    assert slots.acquire("g") == "cuda:0", "which has waited longer"


def test_three_jobs_on_two_gpus_and_two_on_four() -> None:
    slots = DeviceSlots(["cuda:0", "cuda:1"], 3)
    assert [slots.acquire(key) for key in "abcd"] == ["cuda:0", "cuda:1", "cuda:0", None]
    slots = DeviceSlots(["a", "b", "c", "d"], 2)
    assert [slots.acquire(key) for key in "xyz"] == ["a", "b", None]
    slots.release("x")
    assert slots.acquire("z") == "c", "round and round"
    assert slots.is_exclusive("y"), "one each is one alone"


def test_a_job_of_its_own_waits_for_an_idle_device_and_keeps_it() -> None:
    slots = DeviceSlots(["cuda:0", "cuda:1"], 4)
    for key in "abcd":
        slots.acquire(key)
    slots.release("b")
    assert slots.acquire_exclusive("x") is None, "cuda:1 still has d"
    assert not slots.free, "and is kept for it"
    slots.release("d")
    assert not slots.free
    assert slots.acquire_exclusive("x") == "cuda:1"
    assert slots.is_exclusive("x")
    assert not slots.is_exclusive("a")
    slots.release("c")
    assert [slots.acquire("e"), slots.acquire("f")] == ["cuda:0", None], "nobody joins it"
    slots.release("x")
    assert slots.acquire("f") == "cuda:1"
    assert not slots.is_exclusive("f")


def test_one_gpu_drains_for_a_job_of_its_own() -> None:
    slots = DeviceSlots(["cuda:0"], 3)
    slots.acquire("a")
    slots.acquire("b")
    assert slots.acquire_exclusive("x") is None
    assert slots.acquire("c") is None
    slots.release("a")
    assert slots.acquire_exclusive("x") is None
    slots.release("b")
    assert slots.acquire_exclusive("x") == "cuda:0"
    assert slots.acquire("c") is None


@pytest.mark.parametrize(("devices", "jobs"), [([], 1), (["cpu"], 0)])
def test_no_device_or_no_job_is_a_mistake(devices: list[str], jobs: int) -> None:
    with pytest.raises(ValueError):
        DeviceSlots(devices, jobs)


@given(st.integers(1, 5), st.integers(1, 12), st.data())
def test_no_device_is_overfull_and_nobody_waits_for_ever(
    count: int, jobs: int, data: st.DataObject
) -> None:
    devices = [f"cuda:{index}" for index in range(count)]
    slots = DeviceSlots(devices, jobs)
    where: dict[str, str] = {}
    lonely: set[str] = set()
    waiting: list[str] = []  # for a device of their own, in this order
    for number in range(data.draw(st.integers(1, 40))):
        key = str(number)
        step = data.draw(st.sampled_from(["take", "take", "alone", "end"]))
        if step == "take":
            free = slots.free
            device = slots.acquire(key)
            assert free == (device is not None)
            if device is not None:
                where[key] = device
        elif step == "alone":
            waiting.append(key)
        elif where:
            ended = data.draw(st.sampled_from(sorted(where)))
            slots.release(ended)
            del where[ended]
            lonely.discard(ended)
        while waiting and (device := slots.acquire_exclusive(waiting[0])):
            assert device not in where.values(), "it was idle"
            lonely.add(waiting[0])
            where[waiting.pop(0)] = device
        loads = {device: list(where.values()).count(device) for device in devices}
        assert sum(loads.values()) <= jobs
        assert max(loads.values()) <= -(-jobs // count)
        for key in lonely:
            assert loads[where[key]] == 1
            assert slots.is_exclusive(key)
    # let all end: each job that waits for a device of its own gets one
    while where or waiting:
        for key in list(where):
            slots.release(key)
            del where[key]
        if waiting:
            device = slots.acquire_exclusive(waiting[0])
            assert device is not None
            where[waiting.pop(0)] = device


@given(st.integers(1, 6), st.integers(1, 20))
def test_as_jobs_come_in_the_load_is_even(count: int, jobs: int) -> None:
    devices = [f"cuda:{index}" for index in range(count)]
    slots = DeviceSlots(devices, jobs)
    loads = dict.fromkeys(devices, 0)
    for number in range(jobs):
        device = slots.acquire(str(number))
        assert device is not None
        loads[device] += 1
        assert max(loads.values()) - min(loads.values()) <= 1
    assert slots.acquire("one more") is None

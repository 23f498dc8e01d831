"""Which device each job gets, whatever comes and goes in whatever order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medbench.runner.slots import Slots


def test_four_jobs_on_two_gpus_are_two_each_in_turn() -> None:
    slots = Slots(["cuda:0", "cuda:1"], 4)
    assert [slots.take(key) for key in "abcde"] == ["cuda:0", "cuda:1", "cuda:0", "cuda:1", None]
    assert not slots.free
    slots.give_back("b")
    assert slots.free
    assert slots.take("f") == "cuda:1", "where there are fewest"
    slots.give_back("a")
    slots.give_back("d")
    assert slots.take("g") == "cuda:0", "which has waited longer"


def test_three_jobs_on_two_gpus_and_two_on_four() -> None:
    slots = Slots(["cuda:0", "cuda:1"], 3)
    assert [slots.take(key) for key in "abcd"] == ["cuda:0", "cuda:1", "cuda:0", None]
    slots = Slots(["a", "b", "c", "d"], 2)
    assert [slots.take(key) for key in "xyz"] == ["a", "b", None]
    slots.give_back("x")
    assert slots.take("z") == "c", "round and round"
    assert slots.alone("y"), "one each is one alone"


def test_a_job_of_its_own_waits_for_an_idle_device_and_keeps_it() -> None:
    slots = Slots(["cuda:0", "cuda:1"], 4)
    for key in "abcd":
        slots.take(key)
    slots.give_back("b")
    assert slots.take_alone("x") is None, "cuda:1 still has d"
    assert not slots.free, "and is kept for it"
    slots.give_back("d")
    assert not slots.free
    assert slots.take_alone("x") == "cuda:1"
    assert slots.alone("x")
    assert not slots.alone("a")
    slots.give_back("c")
    assert [slots.take("e"), slots.take("f")] == ["cuda:0", None], "nobody joins it"
    slots.give_back("x")
    assert slots.take("f") == "cuda:1"
    assert not slots.alone("f")


def test_one_gpu_drains_for_a_job_of_its_own() -> None:
    slots = Slots(["cuda:0"], 3)
    slots.take("a")
    slots.take("b")
    assert slots.take_alone("x") is None
    assert slots.take("c") is None
    slots.give_back("a")
    assert slots.take_alone("x") is None
    slots.give_back("b")
    assert slots.take_alone("x") == "cuda:0"
    assert slots.take("c") is None


@pytest.mark.parametrize(("devices", "jobs"), [([], 1), (["cpu"], 0)])
def test_no_device_or_no_job_is_a_mistake(devices: list[str], jobs: int) -> None:
    with pytest.raises(ValueError):
        Slots(devices, jobs)


@given(st.integers(1, 5), st.integers(1, 12), st.data())
def test_no_device_is_overfull_and_nobody_waits_for_ever(
    count: int, jobs: int, data: st.DataObject
) -> None:
    devices = [f"cuda:{index}" for index in range(count)]
    slots = Slots(devices, jobs)
    where: dict[str, str] = {}
    lonely: set[str] = set()
    waiting: list[str] = []  # for a device of their own, in this order
    for number in range(data.draw(st.integers(1, 40))):
        key = str(number)
        step = data.draw(st.sampled_from(["take", "take", "alone", "end"]))
        if step == "take":
            free = slots.free
            device = slots.take(key)
            assert free == (device is not None)
            if device is not None:
                where[key] = device
        elif step == "alone":
            waiting.append(key)
        elif where:
            ended = data.draw(st.sampled_from(sorted(where)))
            slots.give_back(ended)
            del where[ended]
            lonely.discard(ended)
        while waiting and (device := slots.take_alone(waiting[0])):
            assert device not in where.values(), "it was idle"
            lonely.add(waiting[0])
            where[waiting.pop(0)] = device
        loads = {device: list(where.values()).count(device) for device in devices}
        assert sum(loads.values()) <= jobs
        assert max(loads.values()) <= -(-jobs // count)
        for key in lonely:
            assert loads[where[key]] == 1
            assert slots.alone(key)
    # let all end: whoever waited for a device of their own gets one
    while where or waiting:
        for key in list(where):
            slots.give_back(key)
            del where[key]
        if waiting:
            device = slots.take_alone(waiting[0])
            assert device is not None
            where[waiting.pop(0)] = device


@given(st.integers(1, 6), st.integers(1, 20))
def test_as_jobs_come_in_the_load_is_even(count: int, jobs: int) -> None:
    devices = [f"cuda:{index}" for index in range(count)]
    slots = Slots(devices, jobs)
    loads = dict.fromkeys(devices, 0)
    for number in range(jobs):
        device = slots.take(str(number))
        assert device is not None
        loads[device] += 1
        assert max(loads.values()) - min(loads.values()) <= 1
    assert slots.take("one more") is None

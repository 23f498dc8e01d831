"""Which device each job gets: pure arithmetic, no device is touched."""

from __future__ import annotations

from collections.abc import Sequence


class Slots:
    """Spreads jobs evenly over devices.

    A job goes to the device with the fewest; among those, to the one that has waited
    longest for a job. A job may also ask for a device of its own: where none is idle,
    the one with the fewest jobs is kept free of new ones until it is.

    Parameters
    ----------
    devices : sequence of str
        Names of the devices, at least one.
    jobs : int
        Jobs at once, over all devices.
    """

    def __init__(self, devices: Sequence[str], jobs: int) -> None:
        if not devices or jobs < 1:
            raise ValueError("there must be a device and a job")
        self.jobs = jobs
        #: Jobs that a device may have at once.
        self.each = -(-jobs // len(devices))
        self._on: dict[str, set[str]] = {device: set() for device in devices}
        self._turn = dict.fromkeys(devices, 0)
        self._turns = 0
        self._alone: dict[str, str] = {}
        self._kept: str | None = None

    @property
    def free(self) -> bool:
        """Whether :meth:`take` would give a device now."""
        return self._next() is not None

    def take(self, key: str) -> str | None:
        """Give a job a device; ``None`` if all are taken."""
        device = self._next()
        if device is not None:
            self._place(key, device)
        return device

    def take_alone(self, key: str) -> str | None:
        """Give a job a device of its own; ``None`` if it has to wait for one, which is then kept.

        Ask again when a job has ended.
        """
        if self._kept is None:
            self._kept = min(self._on, key=self._order)
        if self._on[self._kept] or self._running() >= self.jobs:
            return None
        device, self._kept = self._kept, None
        self._place(key, device)
        self._alone[device] = key
        return device

    def alone(self, key: str) -> bool:
        """Whether a job that has a device has it to itself for as long as it runs."""
        return self.each == 1 or key in self._alone.values()

    def give_back(self, key: str) -> None:
        """Take a job that has ended off its device."""
        for device, keys in self._on.items():
            if key in keys:
                keys.remove(key)
                if self._alone.get(device) == key:
                    del self._alone[device]

    def _next(self) -> str | None:
        if self._running() >= self.jobs:
            return None
        fit = [
            device
            for device, keys in self._on.items()
            if len(keys) < self.each and device not in self._alone and device != self._kept
        ]
        return min(fit, key=self._order, default=None)

    def _order(self, device: str) -> tuple[int, int]:
        # a device that a job has to itself counts as full
        load = self.each if device in self._alone else len(self._on[device])
        return load, self._turn[device]

    def _place(self, key: str, device: str) -> None:
        self._turns += 1
        self._turn[device] = self._turns
        self._on[device].add(key)

    def _running(self) -> int:
        return sum(map(len, self._on.values()))

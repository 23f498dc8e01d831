"""Which device each job gets: arithmetic only, no device is used."""

from __future__ import annotations

from collections.abc import Sequence


class DeviceSlots:
    """Spreads jobs evenly over devices.

    A job goes to the device with the fewest jobs; among those, to the one that has waited
    longest for a job. A job may also ask for a device of its own: where none is idle, the
    one with the fewest jobs is reserved and gets no new ones until it is.

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
        self._last_used = dict.fromkeys(devices, 0)
        self._count = 0
        self._exclusive: dict[str, str] = {}
        self._reserved: str | None = None

    def __str__(self) -> str:
        """Return the names of the devices."""
        return ", ".join(self._on)

    @property
    def free(self) -> bool:
        """Whether :meth:`acquire` would give a device now."""
        return self._next() is not None

    def acquire(self, key: str) -> str | None:
        """Give a job a device; ``None`` if all are taken."""
        device = self._next()
        if device is not None:
            self._place(key, device)
        return device

    def acquire_exclusive(self, key: str) -> str | None:
        """Give a job a device of its own; ``None`` if it has to wait for the one reserved for it.

        To be called again when a job has ended.
        """
        if self._reserved is None:
            self._reserved = min(self._on, key=self._order)
        if self._on[self._reserved] or self._running() >= self.jobs:
            return None
        device, self._reserved = self._reserved, None
        self._place(key, device)
        self._exclusive[device] = key
        return device

    def is_exclusive(self, key: str) -> bool:
        """Tell whether a job that has a device has it to itself for as long as it runs."""
        return self.each == 1 or key in self._exclusive.values()

    def release(self, key: str) -> None:
        """Free the device of a job that has ended."""
        for device, keys in self._on.items():
            if key in keys:
                keys.remove(key)
                if self._exclusive.get(device) == key:
                    del self._exclusive[device]

    def _next(self) -> str | None:
        if self._running() >= self.jobs:
            return None
        fit = [
            device
            for device, keys in self._on.items()
            if len(keys) < self.each and device not in self._exclusive and device != self._reserved
        ]
        return min(fit, key=self._order, default=None)

    def _order(self, device: str) -> tuple[int, int]:
        # a device that a job has to itself counts as full
        load = self.each if device in self._exclusive else len(self._on[device])
        return load, self._last_used[device]

    def _place(self, key: str, device: str) -> None:
        self._count += 1
        self._last_used[device] = self._count
        self._on[device].add(key)

    def _running(self) -> int:
        return sum(map(len, self._on.values()))

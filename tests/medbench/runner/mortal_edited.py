"""A method whose source is edited between two attempts; see test_interruption.py."""

from __future__ import annotations

from mortal import MortalCoTeaching


class Edited(MortalCoTeaching):
    """Dies as its parent does."""

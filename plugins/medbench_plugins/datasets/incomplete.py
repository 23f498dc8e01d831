"""Saying on a card that a copy is not the published whole."""

from collections.abc import Mapping


def incomplete(found: Mapping[str, int], published: Mapping[str, int]) -> tuple[str, ...]:
    """Return a sentence for each part of which other than the published number is there."""
    return tuple(
        f"This copy holds {count:,} of the {published[part]:,} images of {part}."
        for part, count in found.items()
        if count != published[part]
    )

"""Built-in noise models."""

from medbench import Plugin

NOISE_MODELS: tuple[Plugin, ...] = (
    Plugin(
        name="symmetric",
        target="medbench_plugins.noise.symmetric:SymmetricExclusive",
        summary="flips to any OTHER class, all equally likely: P(true) = 1 - rate",
        interface=1,
    ),
    Plugin(
        name="symmetric-inclusive",
        target="medbench_plugins.noise.symmetric:SymmetricInclusive",
        summary="redraws from ALL classes, the true one too: P(true) = 1 - rate + rate/K",
        interface=1,
    ),
    Plugin(
        name="pair-flip",
        target="medbench_plugins.noise.pair_flip:PairFlip",
        summary="each class is taken for the next one, the last for the first",
        interface=1,
    ),
    Plugin(
        name="class-dependent",
        target="medbench_plugins.noise.class_dependent:ClassDependent",
        summary="follows a matrix of confusions given in the protocol, scaled to the rate",
        interface=1,
    ),
)

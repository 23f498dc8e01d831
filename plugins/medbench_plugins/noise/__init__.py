"""Built-in noise models."""

from medbench import Plugin

# name: class in this package, summary
_MODELS = {
    "symmetric": (
        "symmetric:SymmetricExclusive",
        "flips to any OTHER class, all equally likely: P(true) = 1 - rate",
    ),
    "symmetric-inclusive": (
        "symmetric:SymmetricInclusive",
        "redraws from ALL classes, the true one too: P(true) = 1 - rate + rate/K",
    ),
    "pair-flip": (
        "pair_flip:PairFlip",
        "each class is taken for the next one, the last for the first",
    ),
    "class-dependent": (
        "class_dependent:ClassDependent",
        "follows a matrix of confusions given in the protocol, scaled to the rate",
    ),
    "annotator": (
        "annotator:Annotator",
        "confuses classes as annotators did, by a matrix given as a CSV file",
    ),
    "instance-dependent": (
        "instance_dependent:InstanceDependent",
        "what an image shows decides its rate and wrong class (Xia et al. 2020)",
    ),
    "given": ("given:Given", "labels somebody gave, by sample id, read from a CSV file"),
    "as-given": ("as_given:AsGiven", "adds nothing: labels as they are, some of them wrong"),
}

NOISE_MODELS: tuple[Plugin, ...] = tuple(
    Plugin(name=name, target=f"medbench_plugins.noise.{target}", summary=summary, interface=1)
    for name, (target, summary) in _MODELS.items()
)

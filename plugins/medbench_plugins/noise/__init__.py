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
    Plugin(
        name="annotator",
        target="medbench_plugins.noise.annotator:Annotator",
        settings="medbench_plugins.noise.annotator:AnnotatorSettings",
        summary="confuses classes as annotators did, by a matrix given as a CSV file",
        interface=1,
    ),
    Plugin(
        name="instance-dependent",
        target="medbench_plugins.noise.instance_dependent:InstanceDependent",
        settings="medbench_plugins.noise.instance_dependent:InstanceDependentSettings",
        summary="what an image shows decides its rate and wrong class (Xia et al. 2020)",
        interface=1,
    ),
    Plugin(
        name="given",
        target="medbench_plugins.noise.given:Given",
        settings="medbench_plugins.noise.given:GivenSettings",
        summary="labels somebody gave, by sample id, read from a CSV file",
        interface=1,
    ),
)

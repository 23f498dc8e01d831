"""What a finished run was given, drawn again from its settings."""

from __future__ import annotations

from medbench.engine.samples import (
    NoisyLabels,
    RunImages,
    corrupt_labels,
    load_images,
    network_seed,
)
from medbench.engine.streams import derive_seed
from medbench.engine.training import TrainingInput
from medbench.errors import MedbenchError
from medbench.interfaces.dataset import DataContext
from medbench.plugins.registry import Registry
from medbench.protocol.spec import RunSpec
from medbench.store.records import Record


def redrawn(
    record: Record, registry: Registry, context: DataContext
) -> tuple[RunSpec, RunImages, NoisyLabels, TrainingInput]:
    """Draw a record's images and noisy labels again; the input has no pretrained weights.

    Raises
    ------
    MedbenchError
        If the noisy labels are not those of the record.
    """
    spec = RunSpec.from_json(record.header.spec)
    dataset = spec.dataset.create(registry, "dataset")
    images = load_images(dataset, context, spec.images, spec.root_seed, spec.seed)
    model = spec.noise.create(registry, "noise")
    noise = corrupt_labels(model, spec.rate, images, spec.dataset.name, spec.root_seed, spec.seed)
    if noise.labels_hash() != record.header.summary["noise"]["labels_hash"]:
        raise MedbenchError(f"{spec.label}: the noisy labels are not those of the record")
    given = TrainingInput(
        train_images=images.train.images,
        train_labels=noise.train,
        validation_images=images.validation.images,
        validation_labels=noise.validation,
        test_images=images.test.images,
        num_classes=images.card.num_classes,
        normalise=spec.images.normalise,
        training=spec.training,
        compute=spec.compute,
        evaluation_batch=spec.evaluation.batch_size,
        network_seed=network_seed(spec.root_seed, spec.dataset.name, spec.seed),
        training_seed=derive_seed(spec.root_seed, "training", *spec.axes.values()),
    )
    return spec, images, noise, given

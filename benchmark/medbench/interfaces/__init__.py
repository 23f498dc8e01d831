"""The kinds of plugin and the small records they exchange. Loads no torch."""

from medbench.interfaces.acquisition import Acquisition, Pool, ScoredAcquisition
from medbench.interfaces.backbone import Backbone, ImageSpace, PatchNetwork
from medbench.interfaces.dataset import (
    SPLITS,
    DataContext,
    Dataset,
    DatasetCard,
    LabelledImages,
)
from medbench.interfaces.events import EpochEnded, JobEnded, JobStarted
from medbench.interfaces.executor import Executor, Job, JobEnd, JobHandle, JobProgress
from medbench.interfaces.method import (
    Batch,
    EpochReport,
    LearningTask,
    LNLMethod,
    MethodSettings,
    NoisyImages,
    Optimiser,
    OptimiserSettings,
    Oracle,
)
from medbench.interfaces.noise import CleanLabels, MatrixNoise, NoiseModel
from medbench.interfaces.pretext import Pretext, PretextSettings, PretextStep, PretextTask
from medbench.interfaces.sections import BoardSection, LineFigure, Table
from medbench.interfaces.settings import Settings

__all__ = [
    "SPLITS",
    "Acquisition",
    "Backbone",
    "Batch",
    "BoardSection",
    "CleanLabels",
    "DataContext",
    "Dataset",
    "DatasetCard",
    "EpochEnded",
    "EpochReport",
    "Executor",
    "ImageSpace",
    "Job",
    "JobEnd",
    "JobEnded",
    "JobHandle",
    "JobProgress",
    "JobStarted",
    "LNLMethod",
    "LabelledImages",
    "LearningTask",
    "LineFigure",
    "MatrixNoise",
    "MethodSettings",
    "NoiseModel",
    "NoisyImages",
    "Optimiser",
    "OptimiserSettings",
    "Oracle",
    "PatchNetwork",
    "Pool",
    "Pretext",
    "PretextSettings",
    "PretextStep",
    "PretextTask",
    "ScoredAcquisition",
    "Settings",
    "Table",
]

"""Weights from files: found, told apart, matched by name, refused in one line."""

import hashlib
import os
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models

import medbench
from medbench.engine.pretraining import PretrainingInput, PretrainingStage
from medbench.errors import MedbenchError, ProtocolError
from medbench.interfaces import ImageSpace, PretextTask
from medbench.interfaces.dataset import DataContext
from medbench.interfaces.options import ComputeOptions, PretrainingOptions
from medbench.plugins.registry import discover
from medbench.protocol.read import parse_protocol, read_protocol
from medbench.protocol.runs import expand
from medbench_plugins.backbones.narrow import Narrow
from medbench_plugins.backbones.torchvision import TorchvisionBackbone
from medbench_plugins.pretexts.checkpoint import Checkpoint
from medbench_plugins.pretexts.weights_files import find_weights

PROTOCOL = """
name = "from-file"
[grid]
datasets = ["covid-qu-ex-mini"]
noise = ["symmetric"]
rates = [0.3]
pretexts = ["checkpoint", "more"]
methods = ["cross-entropy"]
seeds = [0]
[images]
size = 16
train = 16
validation = 8
test = 8
[backbone]
name = "narrow"
width = 8
stages = 2
[pretraining]
epochs = 1
batch_size = 8
[training]
epochs = 1
backbone = "frozen"
[pretexts.checkpoint]
file = "{file}"
seen = ["ImageNet-1k"]
[pretexts.more]
steps = [
    {{ plugin = "checkpoint", file = "{file}" }},
    {{ plugin = "rotation", dataset = "kather-texture-mini" }},
    {{ plugin = "rotation" }},
]
"""


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def narrow(seed, channels=1):
    torch.manual_seed(seed)
    network = Narrow("n", Narrow.Settings(width=8, stages=2)).build(ImageSpace(channels, 16))[0]
    return network.to(memory_format=torch.contiguous_format)  # as safetensors needs it


def load(backbone, file, **settings):
    """Start the pretext and return the backbone."""
    pretext = Checkpoint("checkpoint", Checkpoint.Settings(file=str(file), **settings))
    space = ImageSpace(1, 16)
    pretext.start(PretextTask(backbone, 16, space, 8, steps=0, device=torch.device("cpu")))
    return backbone


def refusal(backbone, file, **settings):
    with pytest.raises(MedbenchError) as caught:
        load(backbone, file, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def equal(one, other):
    return all(
        torch.equal(a, b)
        for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    )


def wrap(state, prefix):
    return {prefix + name: tensor for name, tensor in state.items()}


@pytest.mark.parametrize("prefix", ["", "module.encoder_q."])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_weights_are_found_behind_a_prefix_and_next_to_others(tmp_path, prefix, suffix):
    given, file = narrow(0), tmp_path / f"weights.{suffix}"
    state = {**wrap(given.state_dict(), prefix), "head.weight": torch.ones(3)}
    save_file(state, file) if suffix == "safetensors" else torch.save(state, file)
    assert equal(load(narrow(1), file), given)
    assert equal(load(narrow(1), file, prefix=prefix), given)


def test_nested_dictionaries_are_names_joined_by_dots(tmp_path):
    student, teacher, file = narrow(0), narrow(1), tmp_path / "dino.pth"
    state = {
        "student": {"module": student.state_dict()},
        "teacher": {"module": teacher.state_dict()},
        "optimizer": {"state": {0: {"step": torch.zeros(())}}},
        "epoch": 3,
    }
    torch.save(state, file)
    assert equal(load(narrow(2), file, prefix="teacher.module."), teacher)
    told = refusal(narrow(2), file)
    assert "'student.module.' and 'teacher.module.' fit equally well" in told


@pytest.mark.parametrize("channels", [1, 3])
def test_a_classifier_of_torchvision_is_a_checkpoint_of_its_backbone(tmp_path, channels):
    torch.manual_seed(5)
    whole, file = models.resnet18(weights=None).eval(), tmp_path / "resnet18.pth"
    torch.save(whole.state_dict(), file)
    plugin = TorchvisionBackbone("resnet18", TorchvisionBackbone.Settings())
    backbone, _ = plugin.build(ImageSpace(channels, 32))
    load(backbone, file).eval()
    images = torch.rand(2, channels, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(
            whole.fc(backbone(images)), whole(images.expand(-1, 3, -1, -1)), atol=1e-4, rtol=1e-4
        )


def test_what_does_not_fit_is_refused(tmp_path):
    file = tmp_path / "weights.pth"
    wide = Narrow("n", Narrow.Settings(width=16, stages=2)).build(ImageSpace(1, 16))[0]
    torch.save(wide.state_dict(), file)
    told = refusal(narrow(0), file)
    assert "stem.weight has the shape (16, 1, 5, 5), the backbone's (8, 1, 5, 5)" in told
    torch.save({"conv1.weight": torch.zeros(2)}, file)
    told = refusal(narrow(0), file)
    assert "none of its names is one of the backbone's, such as stem.weight" in told
    assert "conv1.weight" in told
    state = narrow(0).state_dict()
    del state["blocks.1.conv2.weight"]
    torch.save(state, file)
    assert "lacks 1 of the backbone's" in refusal(narrow(0), file)
    file.write_bytes(b"no weights")
    assert "can be read safely" in refusal(narrow(0), file)
    pretext = Checkpoint("checkpoint", Checkpoint.Settings())
    task = PretextTask(narrow(0), 16, ImageSpace(1, 16), 8, 0, torch.device("cpu"))
    with pytest.raises(MedbenchError, match=r"set file = .* in \[pretexts.checkpoint\]"):
        pretext.start(task)


def test_nothing_is_unpickled(tmp_path):
    file, mark = tmp_path / "evil.pth", tmp_path / "mark"

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(mark),)

    torch.save({"weight": torch.zeros(2), "evil": Evil()}, file)
    assert "can be read safely" in refusal(narrow(0), file)
    file.write_bytes(pickle.dumps(Evil()))
    assert "can be read safely" in refusal(narrow(0), file)
    assert not mark.exists()


def test_a_missing_file_is_refused_when_the_protocol_is_read(tmp_path):
    protocol = tmp_path / "from-file.toml"
    protocol.write_text(PROTOCOL.format(file="nowhere.pth"))
    with pytest.raises(ProtocolError) as caught:
        expand(read_protocol(protocol), discover(), DataContext(tmp_path))
    told = str(caught.value)
    assert told.startswith("from-file.toml: [pretexts.checkpoint]: there is no file nowhere.pth;")
    assert "\n" not in told


def test_a_replaced_file_is_another_run_and_refused_by_a_planned_one(tmp_path):
    file, registry = tmp_path / "weights.pth", discover()

    def keys():
        protocol = tmp_path / "from-file.toml"
        protocol.write_text(PROTOCOL.format(file=file))
        found = expand(read_protocol(protocol), registry, DataContext(tmp_path))
        assert {spec.stage.epochs for spec in found.pretrainings().values()} == {0, 1}
        return {run.key for run in found.runs}

    torch.save(narrow(0).state_dict(), file)
    before, planned = keys(), Checkpoint.Settings(file=str(file))
    assert planned.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert keys() == before
    torch.save(narrow(1).state_dict(), file)
    assert not keys() & before
    told = refusal(narrow(2), file, sha256=planned.sha256)
    assert "it was replaced" in told


def test_caches_of_torchvision_and_timm_are_looked_into(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    checkpoints = tmp_path / "torch" / "hub" / "checkpoints"
    snapshot = tmp_path / "hf" / "hub" / "models--timm--vit_tiny.augreg" / "snapshots" / "0a1b"
    for folder in (checkpoints, snapshot):
        folder.mkdir(parents=True)
    first, other = checkpoints / "resnet18-f37072fd.pth", snapshot / "model.safetensors"
    for name in ("torchvision:resnet18", "timm:vit_tiny.augreg"):
        with pytest.raises(ValueError, match=r"it holds none; medbench downloads no weights"):
            find_weights(name)
    for path in (first, other):
        path.touch()
    assert find_weights("torchvision:resnet18") == first
    assert find_weights("torchvision:resnet18-f37072fd.pth") == first
    assert find_weights("timm:vit_tiny.augreg") == other
    (checkpoints / "resnet18-5c106cde.pth").touch()
    with pytest.raises(ValueError, match=r"it holds resnet18-5c106cde.pth, resnet18-f37072fd.pth"):
        find_weights("torchvision:resnet18")


def test_a_pretraining_without_epochs_leaves_the_weights_of_the_file(tmp_path):
    given, file = narrow(0), tmp_path / "weights.safetensors"
    save_file(given.state_dict(), file)
    stage = PretrainingStage(
        PretrainingInput(
            images=np.zeros((4, 16, 16, 1), np.uint8),
            normalise="half",
            stage=PretrainingOptions(epochs=0),
            compute=ComputeOptions(),
            network_seed=7,
            training_seed=7,
        ),
        Narrow("n", Narrow.Settings(width=8, stages=2)),
        Checkpoint("checkpoint", Checkpoint.Settings(file=str(file))),
        "cpu",
    )
    assert list(stage.epochs()) == []
    for name, tensor in given.state_dict().items():
        np.testing.assert_array_equal(stage.weights()[name], tensor.numpy())
    assert not isinstance(stage.head, nn.Linear)


def test_runs_start_from_a_file(tmp_path):
    """Through the processes of jobs: alone, and before steps on colour and on grey images."""
    file = tmp_path / "weights.pth"
    torch.save(narrow(0).state_dict(), file)
    protocol = parse_protocol(PROTOCOL.format(file=file), "from-file.toml")
    results = medbench.run(protocol, results=tmp_path / "results", device="cpu", progress=False)
    runs = results.runs
    assert set(runs["status"]) == {"done"}
    assert set(runs["pretext"]) == {"checkpoint", "more"}
    assert set(runs["parameters"]) == {16 * 3 + 3}  # frozen: the head alone is trained
    with_epochs = runs.set_index("pretext")["pretraining_loss"].notna()
    assert with_epochs.to_dict() == {"checkpoint": False, "more": True}
    (more,) = runs.loc[runs["pretext"] == "more", "run_key"]
    step, chain = results.header(more).spec["pretraining"], []
    while step is not None:
        chain.append((step["dataset"]["name"], step["stage"]["epochs"], step.get("channels")))
        step = step["parent"]
    own = "covid-qu-ex-mini"
    assert chain == [(own, 1, None), ("kather-texture-mini", 1, 1), (own, 0, None)]

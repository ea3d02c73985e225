"""The trained weights of an artifact, back in torch, so that rivals run on the very same numbers.

The artifact has no torch file. A fresh network of the same recipe, exported the same way, has the same constants in the
same order: whose value equals a parameter of the fresh network stands where that parameter belongs.
"""

import tempfile
import tomllib
from pathlib import Path

import numpy as np
import openvino as ov
import torch

from service.inference.artifact import MODEL_BIN, MODEL_XML, RECIPE, Artifact
from training.base_models import resolve
from training.export import export
from training.network import FramingNetwork
from training.recipe import Recipe


def network(artifact: Artifact) -> FramingNetwork:
    """The artifact's network in torch, in fp32, ready to infer."""
    recipe = Recipe.model_validate(tomllib.loads(artifact.contents[RECIPE].decode()))
    fresh = FramingNetwork(resolve(recipe.base_model).encoder(), labels=len(artifact.manifest.labels), dropout=0.0).eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in fresh.parameters():  # all different, so that each is recognised
            parameter.copy_(torch.randn_like(parameter) * 0.02)
    with tempfile.TemporaryDirectory() as folder:
        export(fresh, Path(folder))
        marked = _constants((Path(folder) / MODEL_XML).read_bytes(), (Path(folder) / MODEL_BIN).read_bytes())
    trained = _constants(artifact.contents[MODEL_XML], artifact.contents[MODEL_BIN])
    if [c.shape for c in marked] != [c.shape for c in trained]:
        raise ValueError("the artifact was exported from a network of another build")
    with torch.no_grad():
        for name, parameter in fresh.named_parameters():
            parameter.copy_(torch.from_numpy(_counterpart(name, parameter.detach().numpy(), marked, trained)))
    return fresh


def _constants(xml: bytes, weights: bytes) -> list[np.ndarray]:
    model = ov.Core().read_model(xml, ov.Tensor(np.frombuffer(weights, dtype=np.uint8)))
    constants = [node for node in model.get_ordered_ops() if node.get_type_name() == "Constant"]
    return [np.array(node.get_data()) for node in constants]


def _counterpart(name: str, parameter: np.ndarray, marked: list[np.ndarray], trained: list[np.ndarray]) -> np.ndarray:
    for mark, value in zip(marked, trained, strict=True):
        for turned in (False, True):
            seen = mark.T if turned else mark
            if seen.size == parameter.size and np.allclose(seen.reshape(parameter.shape), parameter, atol=1e-3):
                return np.ascontiguousarray((value.T if turned else value).reshape(parameter.shape)).astype(np.float32)
    raise ValueError(f"{name} is not in the artifact")

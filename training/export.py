"""The trained network to OpenVINO IR, and the proof that both compute the same."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import openvino as ov
import torch
from openvino.frontend import FrontEndManager
from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

from service.inference.encoder import Encoder
from service.inference.tokens import Window

from .errors import TrainingError
from .network import FramingNetwork

# What fp16 weights alone may change. The processor's own arithmetic, bf16 perhaps, is left out of this comparison: it is
# no fault of the export, and calibration is fitted on it.
_TOLERANCE = 0.05


def export(network: FramingNetwork, folder: Path) -> None:
    """Write `model.xml` and `model.bin`. Uses OpenVINO's front end directly: its converter tool reports its use."""
    example = (torch.ones(2, 16, dtype=torch.long), torch.ones(2, 16, dtype=torch.long))
    with torch.no_grad(), warnings.catch_warnings():
        # OpenVINO's front end traces; torch calls that deprecated, and shapes that are constants here a risk.
        warnings.simplefilter("ignore")
        decoder = TorchScriptPythonDecoder(network.eval(), example_input=example, trace_kwargs={"check_trace": False})
    front_end = FrontEndManager().load_by_framework("pytorch")
    model = front_end.convert(front_end.load(decoder))
    model.validate_nodes_and_infer_types()
    model.set_friendly_name("paraframe")
    for number, node in enumerate(model.get_ordered_ops()):  # else by a counter of the process: never the same file twice
        node.set_friendly_name(f"{node.get_type_name()}_{number}")
    ov.save_model(model, folder / "model.xml", compress_to_fp16=True)


def check_parity(network: FramingNetwork, folder: Path, windows: Sequence[Window], vocabulary_size: int) -> float:
    """The largest difference of a token output between torch and the exported model. Raises TrainingError if too large."""
    encoder = Encoder((folder / "model.xml").read_bytes(), (folder / "model.bin").read_bytes(), precision="f32")
    largest = 0.0
    for window, exported in zip(windows, encoder.run(windows, vocabulary_size=vocabulary_size), strict=True):
        ids = torch.from_numpy(window.ids)[None]
        with torch.no_grad():
            expected = network(ids, torch.ones_like(ids))[0].numpy()
        largest = max(largest, float(np.abs(expected - exported).max()))
    if largest > _TOLERANCE:
        raise TrainingError(f"the exported model differs from the trained one by {largest:.3f} in a token's output")
    return largest

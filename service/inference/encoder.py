"""The neural network: token windows to numbers per token, by OpenVINO.

OpenVINO returns numbers even for ids outside the vocabulary or beyond the positions that the model knows, so both are
checked here, and that what comes back is finite. A window is only ever padded to its own length's bucket, and windows
share a batch only with others of the same bucket: a text's numbers do not depend on what it is batched with, and the
few shapes that occur keep the runtime's memory flat.
"""

import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from .errors import ArtifactError, EncoderError
from .tokens import WINDOW_TOKENS, Window

Outputs = NDArray[np.float32]

_BUCKETS = (16, 32, 48, 64, 96, 128, 160, 192, 224, WINDOW_TOKENS)
BATCH_TOKENS = 1024  # larger batches were slower in every measurement: they fall out of the processor's cache


class Encoder:
    """One compiled network. Safe to call from several threads, which take turns."""

    def __init__(self, model_xml: bytes, weights: bytes, *, threads: int | None = None, precision: str | None = None) -> None:
        """Compile an OpenVINO model held in memory.

        `threads`: processor threads to use, all of them if None. `precision`: arithmetic such as `f32`; if None, what the
        runtime finds best for the processor.
        """
        core = ov.Core()
        config = {"PERFORMANCE_HINT": "LATENCY"}
        if precision is not None:
            config["INFERENCE_PRECISION_HINT"] = precision
        if threads is not None:
            config["INFERENCE_NUM_THREADS"] = str(threads)
        try:
            model = core.read_model(model_xml, ov.Tensor(np.frombuffer(weights, dtype=np.uint8)))
            self._compiled = core.compile_model(model, "CPU", config)
            self.outputs = int(self._compiled.output(0).get_partial_shape()[2].get_length())
        except (RuntimeError, IndexError) as error:
            reason = " ".join(str(error).split())  # the runtime's own takes several lines
            raise ArtifactError(f"the model file is not a network that can be used: {reason}") from error
        self._turn = threading.Lock()
        self._request = self._compiled.create_infer_request()
        self.precision = str(self._compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name())

    def run(self, windows: Sequence[Window], *, vocabulary_size: int) -> list[Outputs]:
        """For each window, an array `(tokens, outputs)`. Raises EncoderError; the caller decides what that spoils."""
        results: list[Outputs | None] = [None] * len(windows)
        for length, members in _batches(windows):
            with self._turn:  # a batch's output lies in the request's own memory until the next
                rows = self._infer([windows[i] for i in members], length, vocabulary_size)
                for i, row in zip(members, rows, strict=True):
                    results[i] = row[: len(windows[i].ids)].copy()
        return [result for result in results if result is not None]

    def _infer(self, windows: list[Window], length: int, vocabulary_size: int) -> Outputs:
        ids = np.zeros((len(windows), length), dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, window in enumerate(windows):
            count = len(window.ids)
            ids[row, :count] = window.ids
            mask[row, :count] = 1
        if ids.min() < 0 or ids.max() >= vocabulary_size:
            raise EncoderError("a token id lies outside the model's vocabulary")
        try:
            self._request.infer({0: ids, 1: mask}, share_inputs=True)
        except RuntimeError as error:
            raise EncoderError(f"the runtime failed on a batch of {ids.shape}: {error}") from error
        output: Outputs = self._request.get_output_tensor(0).data
        if not np.isfinite(output).all():
            raise EncoderError("the model returned numbers that are not finite")
        return output


def _batches(windows: Sequence[Window]) -> Iterator[tuple[int, list[int]]]:
    """(padded length, indices of the windows) of each batch: one bucket, a power of two rows, within the budget."""
    by_length: dict[int, list[int]] = defaultdict(list)
    for i, window in enumerate(windows):
        by_length[bucket(len(window.ids))].append(i)
    for length, members in sorted(by_length.items()):
        start = 0
        while start < len(members):
            rows = min(most_rows(length), 1 << ((len(members) - start).bit_length() - 1))
            yield length, members[start : start + rows]
            start += rows


def most_rows(length: int) -> int:
    """How many windows of that padded length make a full batch: a power of two, for the sake of few shapes."""
    return 1 << ((BATCH_TOKENS // length).bit_length() - 1)


def bucket(tokens: int) -> int:
    """The padded length for a window of so many tokens. Raises EncoderError past the longest."""
    for length in _BUCKETS:
        if tokens <= length:
            return length
    raise EncoderError(f"a window of {tokens} tokens is longer than {_BUCKETS[-1]}")

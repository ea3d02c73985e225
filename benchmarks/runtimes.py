"""Runtimes and precisions for the same network: how fast, and what it costs in accuracy: `python -m benchmarks.runtimes`."""

import argparse
import os
import statistics
import sys
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import openvino as ov
from onnxruntime import InferenceSession, SessionOptions
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from service.inference.artifact import MODEL_BIN, MODEL_XML, Artifact
from service.inference.classifier import Classifier
from service.inference.encoder import BATCH_TOKENS, Encoder, Outputs, bucket
from service.inference.registry import Registry
from service.inference.tokens import Window
from training.labels import Paragraph
from training.metrics import evaluate

from . import corpus, machine
from .rivals import export_onnx
from .timing import Contender, rates
from .weights import network

Run = Callable[[np.ndarray, np.ndarray], np.ndarray]
_MATRIX_PRODUCTS = ["MatMul", "Gemm"]
_CALIBRATION_TEXTS = 128


class Swapped(Classifier):
    """The classifier with another runtime in the place of its own."""

    def __init__(self, artifact: Artifact, run: Callable[[Sequence[Window]], list[Outputs]]) -> None:
        super().__init__(artifact)
        self._run = run

    def encode(self, windows: Sequence[Window]) -> list[Outputs]:
        return self._run(windows)


def batched(run: Run) -> Callable[[Sequence[Window]], list[Outputs]]:
    """In batches of one bucket within the same budget as the engine's."""

    def encode(windows: Sequence[Window]) -> list[Outputs]:
        by_length: dict[int, list[int]] = defaultdict(list)
        for i, window in enumerate(windows):
            by_length[bucket(len(window.ids))].append(i)
        results: dict[int, Outputs] = {}
        for length, members in by_length.items():
            rows = BATCH_TOKENS // length
            for start in range(0, len(members), rows):
                chosen = members[start : start + rows]
                for i, row in zip(chosen, run(*_padded([windows[i] for i in chosen], length)), strict=True):
                    results[i] = row[: len(windows[i].ids)].copy()
        return [results[i] for i in range(len(windows))]

    return encode


def _padded(windows: Sequence[Window], length: int) -> tuple[np.ndarray, np.ndarray]:
    ids = np.zeros((len(windows), length), dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, window in enumerate(windows):
        ids[row, : len(window.ids)] = window.ids
        mask[row, : len(window.ids)] = 1
    return ids, mask


def onnx_runtime(path: Path, threads: int) -> Run:
    options = SessionOptions()
    options.intra_op_num_threads = threads
    session = InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return np.asarray(session.run(None, {"input_ids": ids, "attention_mask": mask})[0])

    return run


def openvino(path: Path, threads: int) -> Run:
    """An ONNX file in OpenVINO, in fp32 where it is not quantized."""
    config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": str(threads)}
    request = ov.Core().compile_model(str(path), "CPU", config).create_infer_request()

    def run(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        request.infer({"input_ids": ids, "attention_mask": mask})
        return np.asarray(request.get_output_tensor(0).data)

    return run


class _Windows(CalibrationDataReader):  # type: ignore[misc]  # it has no types
    def __init__(self, windows: Sequence[Window]) -> None:
        self._inputs = iter(_padded([window], bucket(len(window.ids))) for window in windows)

    def get_next(self) -> dict[str, np.ndarray] | None:
        following = next(self._inputs, None)
        return None if following is None else {"input_ids": following[0], "attention_mask": following[1]}


def candidates(artifact: Artifact, folder: Path, calibration: Sequence[Window], threads: int) -> dict[str, Classifier]:
    plain, prepared, dynamic, static = (folder / f"{name}.onnx" for name in ("plain", "prepared", "dynamic", "static"))
    export_onnx(network(artifact), plain)
    quant_pre_process(str(plain), str(prepared), skip_symbolic_shape=True)
    quantize_dynamic(prepared, dynamic, per_channel=True, weight_type=QuantType.QInt8)
    quantize_static(prepared, static, _Windows(calibration), per_channel=True, op_types_to_quantize=_MATRIX_PRODUCTS)
    encoder = {
        precision: Encoder(artifact.contents[MODEL_XML], artifact.contents[MODEL_BIN], threads=threads, precision=precision)
        for precision in ("f32", "bf16")
    }
    vocabulary = 1 << 30  # the tokenizer's own ids
    return {
        "ONNX Runtime fp32": Swapped(artifact, batched(onnx_runtime(plain, threads))),
        "ONNX Runtime int8, dynamic": Swapped(artifact, batched(onnx_runtime(dynamic, threads))),
        "ONNX Runtime int8, static": Swapped(artifact, batched(onnx_runtime(static, threads))),
        "OpenVINO fp32": Swapped(artifact, lambda w: encoder["f32"].run(w, vocabulary_size=vocabulary)),
        "OpenVINO bf16": Swapped(artifact, lambda w: encoder["bf16"].run(w, vocabulary_size=vocabulary)),
        "OpenVINO int8, static": Swapped(artifact, batched(openvino(static, threads))),
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.runtimes", description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--labels", type=Path, default=Path("labels"))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    registry = Registry(arguments.models)
    artifact = registry.read(registry.current())
    for line in report(artifact, arguments.labels):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    return 0


def report(artifact: Artifact, labels: Path) -> Iterator[str]:
    test, other = (corpus.held_out(artifact, labels, split) for split in ("test", "validation"))
    yield f"{machine.describe()}; model {artifact.version}, {len(test)} paragraphs.\n"
    own = Classifier(artifact)
    calibration = [w for p in other[:_CALIBRATION_TEXTS] for windows in own.prepare(p.text).windows for w in windows]
    accuracy: dict[str, str] = {}
    speed: dict[str, list[str]] = defaultdict(list)
    cores = len(os.sched_getaffinity(0))
    for threads in sorted({1, cores}):
        with tempfile.TemporaryDirectory() as folder:
            runtimes = candidates(artifact, Path(folder), calibration, threads)
            if not accuracy:
                accuracy = _accuracy(runtimes, test)
            contenders = [Contender(name, classifier.classify_many, 512) for name, classifier in runtimes.items()]
            for name, row in rates(contenders, [p.text for p in test], rounds=3).items():
                speed[name].append(f"{statistics.median(row):.0f}")
    counts = " and ".join(str(n) for n in sorted({1, cores}))
    yield f"| | paragraphs a second on {counts} cores | macro-F1 | labels unlike fp32 |"
    yield "| --- | --- | --- | --- |"
    for name, cells in speed.items():
        yield f"| {name} | {', '.join(cells)} | {accuracy[name]} |"


def _accuracy(runtimes: dict[str, Classifier], test: Sequence[Paragraph]) -> dict[str, str]:
    found = {name: [r[0].decision.labels for r in c.classify_many(p.text for p in test)] for name, c in runtimes.items()}
    rows = {}
    for name, classifier in runtimes.items():
        unlike = sum(a != b for a, b in zip(found[name], found["ONNX Runtime fp32"], strict=True))
        rows[name] = f"{evaluate(classifier, test)['macro_f1']:.3f} | {unlike} of {len(test)}"
    return rows


if __name__ == "__main__":
    sys.exit(main())

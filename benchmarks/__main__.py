"""Everything at once, as Markdown: `python -m benchmarks`. Leave the machine alone meanwhile."""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch

from service.inference.artifact import Artifact
from service.inference.classifier import Classifier
from service.inference.registry import Registry
from training.network import FramingNetwork

from . import corpus, machine, rivals, server
from .load import closed, opened, request
from .timing import Contender, rates, ratio
from .weights import network

ENGINE = "Paraframe's engine"
_PRECISIONS = {"bf16": torch.bfloat16, "f32": torch.float32}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--labels", type=Path, default=Path("labels"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each load on the service")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # of the rivals' libraries
    registry = Registry(arguments.models)
    artifact = registry.read(registry.current())
    paragraphs = corpus.held_out(artifact, arguments.labels, "test") + corpus.held_out(artifact, arguments.labels, "validation")
    texts = [paragraph.text for paragraph in paragraphs]
    for line in report(artifact, texts, arguments.models, rounds=arguments.rounds, seconds=arguments.seconds):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    return 0


def report(artifact: Artifact, texts: list[str], models: Path, *, rounds: int, seconds: float) -> Iterator[str]:
    classifier = Classifier(artifact)
    words = statistics.mean(len(text.split()) for text in texts)
    yield f"{machine.describe()}; model {artifact.version} in {classifier.precision}."
    yield f"{len(texts)} paragraphs of {words:.0f} words.\n"
    trained = network(artifact)
    yield from _engine(classifier, trained, artifact, texts, rounds)
    yield from _growth(classifier, texts)
    yield from _http(classifier, texts, models, seconds)


def _engine(
    classifier: Classifier, trained: FramingNetwork, artifact: Artifact, texts: list[str], rounds: int
) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        onnx = Path(folder) / "network.onnx"
        rivals.export_onnx(trained, onnx)
        session = rivals.OnnxNetwork(onnx, artifact)
        contenders = [
            Contender(ENGINE, classifier.classify_many, 1024),
            Contender("transformers pipeline, batch 1", rivals.transformers_pipeline(trained, artifact, 1), 128),
            Contender("transformers pipeline, batch 32", rivals.transformers_pipeline(trained, artifact, 32), 192),
            Contender("ONNX Runtime fp32, batch 1", rivals.onnx_runtime(session, 1), 256),
            Contender("ONNX Runtime fp32, batch 32", rivals.onnx_runtime(session, 32), 192),
            Contender("sentence-transformers, linear head (SetFit)", rivals.sentence_transformers(trained, artifact), 512),
        ]
        rows = rates(contenders, texts, rounds=rounds)
    yield "| | paragraphs a second | times the engine's cost |\n| --- | --- | --- |"
    for contender in contenders:
        cost = ratio(rows, ENGINE, contender.name)
        yield f"| {contender.name} | {statistics.median(rows[contender.name]):.0f} | {cost:.1f} |"
    yield from _share_of_peak(classifier, trained, texts, statistics.median(rows[ENGINE]))


def _share_of_peak(classifier: Classifier, trained: FramingNetwork, texts: list[str], rate: float) -> Iterator[str]:
    windows = [len(w.ids) for text in texts for windows in classifier.prepare(text).windows for w in windows]
    operations = sum(machine.encoder_operations(trained.encoder.config, tokens) for tokens in windows) / len(texts)
    peaks = {name: machine.matrix_peak(precision) for name, precision in _PRECISIONS.items()}
    peak = peaks.get(classifier.precision, max(peaks.values()))
    yield (
        f"\nMatrix products: {peaks['bf16'] / 1e9:.0f} GFLOP/s in bf16, {peaks['f32'] / 1e9:.0f} in fp32, measured in this "
        f"run; the engine does {rate * operations / 1e9:.0f}, {rate * operations / peak:.0%} of the peak in its precision.\n"
    )


def _growth(classifier: Classifier, texts: list[str]) -> Iterator[str]:
    yield "| one document of | milliseconds per 1,000 words |\n| --- | --- |"
    for count in (10, 100, 1_000, 10_000, 100_000):
        document = corpus.words(texts, count)
        repeats = max(1, 3_000 // count)
        start = time.perf_counter()
        for _ in range(repeats):
            classifier.classify(document)
        yield f"| {count:,} words | {(time.perf_counter() - start) / repeats / count * 1e6:.0f} |"
    yield "\n| documents of eight paragraphs | paragraphs a second |\n| --- | --- |"
    for count in (25, 100, 400):
        documents = corpus.documents(texts, count)
        start = time.perf_counter()
        classifier.classify_many(documents)
        yield f"| {count} | {count * corpus.PARAGRAPHS_PER_DOCUMENT / (time.perf_counter() - start):.0f} |"
    yield ""


def _http(classifier: Classifier, texts: list[str], models: Path, seconds: float) -> Iterator[str]:
    documents = corpus.documents(texts, 200)
    each = corpus.PARAGRAPHS_PER_DOCUMENT
    start, used = time.perf_counter(), time.process_time()
    classifier.classify_many(documents)
    engine_rate = len(documents) * each / (time.perf_counter() - start)
    engine_cpu = (time.process_time() - used) / len(documents) / each
    messages = [request(document) for document in documents]
    with server.running(MODELS_DIR=str(models)) as service:
        at_rest = service.resident_mb()
        yield "| clients | paragraphs a second | p50, ms | p99, ms | processor time over the engine's |"
        yield "| --- | --- | --- | --- | --- |"
        peak = 0.0
        for clients in (1, 8, 64):
            used = service.cpu_seconds()
            measured = asyncio.run(closed(service.port, messages, clients=clients, seconds=seconds))
            cost = (service.cpu_seconds() - used) / (measured.served * each)
            peak = max(peak, measured.served / measured.seconds)
            yield (
                f"| {clients} | {measured.served * each / measured.seconds:.0f} | {measured.percentile(0.5) * 1000:.0f} "
                f"| {measured.percentile(0.99) * 1000:.0f} | {cost / engine_cpu - 1:+.0%} |"
            )
        half = asyncio.run(opened(service.port, messages, rate=peak / 2, seconds=seconds))
        yield (
            f"\nThe engine alone, on the same documents: {engine_rate:.0f} paragraphs a second. At half of the peak rate, open "
            f"loop: p50 {half.percentile(0.5) * 1000:.0f} ms, p99 {half.percentile(0.99) * 1000:.0f} ms, "
            f"{half.percentile(0.99) / half.percentile(0.5):.1f} times as much.\n"
        )
        yield (
            f"Ready {service.ready_after:.1f} s after its start; resident {at_rest:.0f} MB when ready, "
            f"{service.resident_mb():.0f} MB after all this."
        )


if __name__ == "__main__":
    sys.exit(main())

"""What a user would pick instead, on the same trained encoder and the same texts: each a function from texts to numbers."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import AutoConfig, AutoTokenizer, BertForSequenceClassification, pipeline

from service.inference.artifact import Artifact
from training.base_models import resolve
from training.network import FramingNetwork

Predict = Callable[[Sequence[str]], object]

MAX_TOKENS = 256


def transformers_pipeline(network: FramingNetwork, artifact: Artifact, batch: int) -> Predict:
    """`pipeline("text-classification")` in fp32, as its documentation shows it, a multi-label head on the trained encoder."""
    source = resolve(artifact.manifest.base_model.name).source
    config = AutoConfig.from_pretrained(source, num_labels=network.labels, problem_type="multi_label_classification")
    model = BertForSequenceClassification(config).eval()
    model.bert.load_state_dict(network.encoder.state_dict(), strict=False)
    tokenizer = AutoTokenizer.from_pretrained(source)
    classify = pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu", top_k=None)
    return lambda texts: classify(list(texts), batch_size=batch, truncation=True, max_length=MAX_TOKENS)


def onnx_runtime(session: "OnnxNetwork", batch: int) -> Predict:
    """Plain batches in order of arrival, padded to the longest: what one writes first around an exported model."""

    def predict(texts: Sequence[str]) -> list[np.ndarray]:
        return [session.run(texts[start : start + batch]) for start in range(0, len(texts), batch)]

    return predict


class OnnxNetwork:
    """The network as torch exports it, in ONNX Runtime."""

    def __init__(self, path: Path, artifact: Artifact) -> None:
        import onnxruntime

        self._session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        self._tokenizer = AutoTokenizer.from_pretrained(resolve(artifact.manifest.base_model.name).source)

    def run(self, texts: Sequence[str]) -> np.ndarray:
        encoded = self._tokenizer(list(texts), truncation=True, max_length=MAX_TOKENS, padding=True, return_tensors="np")
        return self.run_ids(encoded["input_ids"], encoded["attention_mask"])

    def run_ids(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        (outputs,) = self._session.run(None, {"input_ids": ids, "attention_mask": mask})
        return np.asarray(outputs)


def export_onnx(network: FramingNetwork, path: Path) -> None:
    example = (torch.ones(2, 16, dtype=torch.long), torch.ones(2, 16, dtype=torch.long))
    torch.onnx.export(
        network,
        example,
        str(path),
        input_names=["input_ids", "attention_mask"],
        output_names=["outputs"],
        dynamic_axes={"input_ids": {0: "batch", 1: "tokens"}, "attention_mask": {0: "batch", 1: "tokens"}},
        dynamo=False,
    )


def sentence_transformers(network: FramingNetwork, artifact: Artifact) -> Predict:
    """Embeddings by sentence-transformers in its own batches of 32, a linear head on them: what SetFit's predict does."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(resolve(artifact.manifest.base_model.name).source, device="cpu")
    model.max_seq_length = MAX_TOKENS
    model[0].auto_model.load_state_dict(network.encoder.state_dict(), strict=False)
    head = network.head.weight[: network.labels].detach().numpy().T
    return lambda texts: model.encode(list(texts), show_progress_bar=False) @ head

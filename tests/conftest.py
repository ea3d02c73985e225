"""A tiny model version, written by the real training pipeline in a few seconds, and clients of a service on it."""

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from service.app import create_app
from service.inference.artifact import read_artifact
from service.inference.classifier import Classifier
from service.inference.registry import Registry
from service.settings import Settings
from training.base_models import resolve
from training.pipeline import Plan, train
from training.recipe import Recipe

ROOT = Path(__file__).parent.parent
WORDS = {
    "hero_framing": "immortal",
    "enemy_attribution": "puppets",
    "omission_secrecy": "classified",
    "speculation": "perhaps",
}
PLAIN = [
    "the",
    "ministry",
    "said",
    "on",
    "monday",
    "that",
    "talks",
    "about",
    "grain",
    "and",
    "rail",
    "would",
    "go",
    "on",
    "in",
    "the",
    "city",
    "hall",
    "after",
    "lunch",
]


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of 2 layers and 32 dimensions with random weights, as a Hugging Face folder."""
    folder = tmp_path_factory.mktemp("base")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", ".", *sorted({*PLAIN, *WORDS.values()})]
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    )
    fast.save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A label folder in which one word gives each label away, so that a tiny model can learn it."""
    folder = tmp_path_factory.mktemp("labels")
    shutil.copy(ROOT / "labels" / "codebook.json", folder)
    chance = random.Random(0)
    for split, documents in (("train", 60), ("validation", 40), ("test", 20)):
        lines = [json.dumps(row) for n in range(documents) for row in _document(f"{split}-{n}", chance)]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def _document(doc_id: str, chance: random.Random) -> Iterator[dict[str, object]]:
    for position in range(6):
        label = chance.choice([*WORDS, None, None])
        words = chance.sample(PLAIN, 6) + ([WORDS[label]] if label else [])
        chance.shuffle(words)
        yield {
            "id": f"{doc_id}-{position}", "doc_id": doc_id, "paragraph": position // 3, "position": position,
            "text": " ".join(words) + ".", "labels": [label] if label else [], "kind": "natural",
            "voice": {label: "reported" if "said" in words else "own"} if label else {},
        }  # fmt: skip


TINY_RECIPE = Recipe(
    name="tiny", base_model="tiny", epochs=12, batch_paragraphs=16, learning_rate=3e-3, head_learning_rate=1e-2,
    layer_decay=1.0, warmup=0.1, weight_decay=0.0, dropout=0.0, voice_weight=0.5, distillation=0.5, seed=1,
)  # fmt: skip


@pytest.fixture(scope="session")
def tiny_models(tiny_base: Path, tiny_labels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with versions 1.0.0, which is served, and 1.1.0, which differs by its seed."""
    folder = tmp_path_factory.mktemp("models")
    registry = Registry(folder)
    for version, seed in (("1.0.0", 1), ("1.1.0", 2)):
        recipe = TINY_RECIPE.model_copy(update={"seed": seed})
        plan = Plan(tiny_labels, recipe, resolve(str(tiny_base)))
        train(plan, registry, version, quiet=True)
    registry.promote("1.0.0")
    return folder


@pytest.fixture
def models_dir(tiny_models: Path, tmp_path: Path) -> Path:
    """A copy of `tiny_models` that a test may spoil."""
    return Path(shutil.copytree(tiny_models, tmp_path / "models"))


@pytest.fixture(scope="session")
def tiny_classifier(tiny_models: Path) -> Classifier:
    return Classifier(read_artifact(tiny_models / "1.0.0"), threads=1)


@pytest.fixture(scope="session")
def shipped() -> Classifier:
    """The version that the repository serves."""
    registry = Registry(ROOT / "models")
    return Classifier(registry.read(registry.current()))


@pytest.fixture
def settings(models_dir: Path, tmp_path: Path) -> Settings:
    return Settings(models_dir=models_dir, labels_dir=tmp_path / "labels", threads=1)


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client

"""Labelled paragraphs to tensors, cut into windows by the very code that serves."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.inference.classifier import Classifier
from service.inference.decide import sigmoid
from service.inference.text import join
from service.inference.tokens import Window, WindowTokenizer

from .augment import misspell, recut
from .labels import Paragraph

_VOICE = {"own": 0.0, "mixed": 0.5, "reported": 1.0}
_UNKNOWN = np.float32(-1.0)

Targets = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Item:
    """A window and what its paragraph's sentences should get: targets `(sentences, 2 * labels)`, -1 where unknown.

    `taught`: the probabilities that a teacher gives them, of the same shape; all -1 without a teacher.
    """

    window: Window
    targets: Targets
    taught: Targets


@dataclass(frozen=True, slots=True)
class Batch:
    input_ids: Tensor  # (batch, tokens)
    attention_mask: Tensor  # (batch, tokens)
    sentence_of: Tensor  # (batch, tokens)
    targets: Tensor  # (batch, sentences, 2 * labels), -1 where there is nothing to learn
    taught: Tensor  # (batch, sentences, 2 * labels), likewise

    def to(self, device: torch.device) -> "Batch":
        return Batch(*(getattr(self, field.name).to(device) for field in fields(self)))


def items(
    paragraphs: Sequence[Paragraph],
    tokenizer: WindowTokenizer,
    labels: Sequence[str],
    teacher: Classifier | None = None,
    *,
    recuts: float = 0.0,
    noise: float = 0.0,
) -> list[Item]:
    """The windows of all paragraphs, with targets for the sentences that each holds.

    A share of `recuts` of the documents comes once more with its paragraphs cut elsewhere, then a share of `noise`
    of all these paragraphs once more misspelt.
    """
    chance = random.Random(0)
    shown = [*paragraphs, *recut(paragraphs, chance, share=recuts)]
    all_targets = [
        np.array([_targets(s.labels, s.voice, labels) for s in paragraph.sentences], dtype=np.float32) for paragraph in shown
    ]
    all_taught = _taught(teacher, shown, all_targets)
    made: list[Item] = []
    for paragraph, targets, taught in zip(shown, all_targets, all_taught, strict=True):
        sentences = [s.text for s in paragraph.sentences]
        made += _items(tokenizer, sentences, targets, taught)
        if chance.random() < noise:
            made += _items(tokenizer, [misspell(sentence, chance) for sentence in sentences], targets, taught)
    return made


def _items(tokenizer: WindowTokenizer, sentences: Sequence[str], targets: Targets, taught: Targets) -> list[Item]:
    made = []
    for window in tokenizer.windows(*join(sentences)):
        absent = ~np.isin(np.arange(len(targets)), window.sentence_of)[:, None]
        made.append(Item(window, np.where(absent, _UNKNOWN, targets), np.where(absent, _UNKNOWN, taught)))
    return made


def _taught(teacher: Classifier | None, paragraphs: Sequence[Paragraph], targets: Sequence[Targets]) -> list[Targets]:
    """The teacher's probabilities; of voices, only where there is a label to voice. All unknown without a teacher."""
    if teacher is None:
        return [np.full_like(t, _UNKNOWN) for t in targets]
    logits = teacher.sentence_logits([[s.text for s in paragraph.sentences] for paragraph in paragraphs])
    return [_where_known(sigmoid(np.hstack(both)).astype(np.float32), t) for both, t in zip(logits, targets, strict=True)]


def _where_known(probabilities: Targets, targets: Targets) -> Targets:
    labels = targets.shape[1] // 2
    unknown = np.hstack([np.zeros_like(targets[:, :labels], dtype=bool), targets[:, labels:] < 0])
    return np.where(unknown, _UNKNOWN, probabilities)


def batches(items: Sequence[Item], size: int, *, shuffle: random.Random) -> Iterator[Batch]:
    """Batches of windows of like length, in random order."""
    order = list(range(len(items)))
    shuffle.shuffle(order)
    chunk = 20 * size  # like lengths within a chunk, chance between chunks
    runs = [sorted(order[k : k + chunk], key=lambda i: len(items[i].window.ids)) for k in range(0, len(order), chunk)]
    order = [i for run in runs for i in run]
    groups = [order[k : k + size] for k in range(0, len(order), size)]
    shuffle.shuffle(groups)
    for group in groups:
        yield collate([items[i] for i in group])


def collate(items: Sequence[Item]) -> Batch:
    tokens = max(len(item.window.ids) for item in items)
    sentences = max(len(item.targets) for item in items)
    columns = items[0].targets.shape[1]
    input_ids = torch.zeros(len(items), tokens, dtype=torch.long)
    mask = torch.zeros_like(input_ids)
    sentence_of = torch.full_like(input_ids, -1)
    targets = torch.full((len(items), sentences, columns), float(_UNKNOWN))
    taught = torch.full_like(targets, float(_UNKNOWN))
    for row, item in enumerate(items):
        count = len(item.window.ids)
        input_ids[row, :count] = torch.from_numpy(item.window.ids)
        mask[row, :count] = 1
        sentence_of[row, :count] = torch.from_numpy(item.window.sentence_of)
        targets[row, : len(item.targets)] = torch.from_numpy(item.targets)
        taught[row, : len(item.taught)] = torch.from_numpy(item.taught)
    return Batch(input_ids, mask, sentence_of, targets, taught)


def _targets(carried: Sequence[str], voice: Mapping[str, str], labels: Sequence[str]) -> list[float]:
    voices = [_VOICE[voice[label]] if label in voice else float(_UNKNOWN) for label in labels]
    return [float(label in carried) for label in labels] + voices

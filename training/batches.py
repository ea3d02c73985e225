"""Labelled paragraphs to tensors, cut into windows by the very code that serves."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.inference.text import join
from service.inference.tokens import Window, WindowTokenizer

from .labels import Paragraph

_VOICE = {"own": 0.0, "mixed": 0.5, "reported": 1.0}
_UNKNOWN = -1.0

Targets = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Item:
    """A window and the targets `(sentences, 2 * labels)` of its paragraph: labels in [0, 1], voices or -1."""

    window: Window
    targets: Targets


@dataclass(frozen=True, slots=True)
class Batch:
    input_ids: Tensor  # (batch, tokens)
    attention_mask: Tensor  # (batch, tokens)
    sentence_of: Tensor  # (batch, tokens)
    targets: Tensor  # (batch, sentences, 2 * labels), -1 where there is nothing to learn

    def to(self, device: torch.device) -> "Batch":
        return Batch(*(t.to(device) for t in (self.input_ids, self.attention_mask, self.sentence_of, self.targets)))


def items(paragraphs: Sequence[Paragraph], tokenizer: WindowTokenizer, labels: Sequence[str]) -> list[Item]:
    """The windows of all paragraphs, with targets for the sentences that each holds."""
    made: list[Item] = []
    for paragraph in paragraphs:
        targets = np.array([_targets(s.labels, s.voice, labels) for s in paragraph.sentences], dtype=np.float32)
        for window in tokenizer.windows(*join([s.text for s in paragraph.sentences])):
            present = np.isin(np.arange(len(targets)), window.sentence_of)[:, None]
            made.append(Item(window, np.where(present, targets, np.float32(_UNKNOWN))))
    return made


def batches(items: Sequence[Item], size: int, *, shuffle: random.Random | None) -> Iterator[Batch]:
    """Batches of windows of like length, in random order if `shuffle` is given, by length if not."""
    order = sorted(range(len(items)), key=lambda i: len(items[i].window.ids))
    if shuffle is not None:
        order = list(range(len(items)))
        shuffle.shuffle(order)
        chunk = 20 * size  # like lengths within a chunk, chance between chunks
        runs = [sorted(order[k : k + chunk], key=lambda i: len(items[i].window.ids)) for k in range(0, len(order), chunk)]
        order = [i for run in runs for i in run]
    groups = [order[k : k + size] for k in range(0, len(order), size)]
    if shuffle is not None:
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
    targets = torch.full((len(items), sentences, columns), _UNKNOWN)
    for row, item in enumerate(items):
        count = len(item.window.ids)
        input_ids[row, :count] = torch.from_numpy(item.window.ids)
        mask[row, :count] = 1
        sentence_of[row, :count] = torch.from_numpy(item.window.sentence_of)
        targets[row, : len(item.targets)] = torch.from_numpy(item.targets)
    return Batch(input_ids, mask, sentence_of, targets)


def _targets(carried: Sequence[str], voice: Mapping[str, str], labels: Sequence[str]) -> list[float]:
    voices = [_VOICE[voice[label]] if label in voice else _UNKNOWN for label in labels]
    return [float(label in carried) for label in labels] + voices

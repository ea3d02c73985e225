"""Labelled paragraphs to tensors, cut into windows by the very code that serves."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.inference.classifier import Classifier
from service.inference.decide import sigmoid
from service.inference.encoder import Outputs
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
    `taught_tokens`: the teacher's label probabilities for each token, `(tokens, labels)`, and of the same shape
    `token_weights`: how much of its sentence's weight the token has for the label, to the teacher; 0 without one.
    """

    window: Window
    targets: Targets
    taught: Targets
    taught_tokens: Targets
    token_weights: Targets


@dataclass(frozen=True, slots=True)
class Batch:
    input_ids: Tensor  # (batch, tokens)
    attention_mask: Tensor  # (batch, tokens)
    sentence_of: Tensor  # (batch, tokens)
    targets: Tensor  # (batch, sentences, 2 * labels), -1 where there is nothing to learn
    taught: Tensor  # (batch, sentences, 2 * labels), likewise
    taught_tokens: Tensor  # (batch, tokens, labels)
    token_weights: Tensor  # (batch, tokens, labels), 0 where there is nothing to learn

    def to(self, device: torch.device) -> "Batch":
        return Batch(*(getattr(self, field.name).to(device) for field in fields(self)))


@dataclass(frozen=True, slots=True)
class _Lesson:
    """What a teacher says of one paragraph: probabilities for its sentences, and outputs for the tokens of its windows."""

    taught: Targets
    windows: Sequence[tuple[Window, Outputs]]

    def of_tokens(self, windows: Sequence[Window]) -> list[tuple[Targets, Targets]]:
        """For each window, probabilities and weights of its tokens, both `(tokens, labels)`.

        The weights are 0 where the teacher's tokenizer, which has its own ids, cut the paragraph otherwise.
        """
        labels = self.taught.shape[1] // 2
        alike = [w.sentence_of.tolist() for w in windows] == [read.sentence_of.tolist() for read, _ in self.windows]
        if not alike:
            return [(np.zeros((len(w.ids), labels), dtype=np.float32),) * 2 for w in windows]
        return [
            (
                sigmoid(outputs[:, :labels].astype(np.float64)).astype(np.float32),
                _shares(outputs[:, 2 * labels :], window.sentence_of),
            )
            for window, outputs in self.windows
        ]


def _shares(attention: Outputs, sentence_of: NDArray[np.int64]) -> Targets:
    """Each token's part of its sentence's weight, 0 outside sentences; `attention` has the weights' logarithms."""
    weights = np.exp(attention.astype(np.float64)) * (sentence_of >= 0)[:, None]
    totals = np.zeros((sentence_of.max() + 2, attention.shape[1]))
    np.add.at(totals, sentence_of, weights)  # what is outside sentences adds 0 to the last row
    return (weights / np.maximum(totals[sentence_of], 1e-6)).astype(np.float32)


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
    lessons = _lessons(teacher, shown, all_targets)
    made: list[Item] = []
    for paragraph, targets, lesson in zip(shown, all_targets, lessons, strict=True):
        sentences = [s.text for s in paragraph.sentences]
        made += _items(tokenizer, sentences, targets, lesson)
        if chance.random() < noise:
            misspelt = [misspell(sentence, chance) for sentence in sentences]  # the teacher read other tokens
            made += _items(tokenizer, misspelt, targets, replace(lesson, windows=()))
    return made


def _items(tokenizer: WindowTokenizer, sentences: Sequence[str], targets: Targets, lesson: _Lesson) -> list[Item]:
    made = []
    windows = tokenizer.windows(*join(sentences))
    for window, of_tokens in zip(windows, lesson.of_tokens(windows), strict=True):
        absent = ~np.isin(np.arange(len(targets)), window.sentence_of)[:, None]
        known = np.where(absent, _UNKNOWN, targets), np.where(absent, _UNKNOWN, lesson.taught)
        made.append(Item(window, *known, *of_tokens))
    return made


def _lessons(teacher: Classifier | None, paragraphs: Sequence[Paragraph], targets: Sequence[Targets]) -> list[_Lesson]:
    """What the teacher says of each paragraph; of voices, only where there is a label to voice."""
    if teacher is None:
        return [_Lesson(np.full_like(t, _UNKNOWN), ()) for t in targets]
    read = teacher.read([[s.text for s in paragraph.sentences] for paragraph in paragraphs])
    return [
        _Lesson(_where_known(sigmoid(np.hstack(teacher.pool(len(t), windows))).astype(np.float32), t), windows)
        for windows, t in zip(read, targets, strict=True)
    ]


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
    taught_tokens = torch.zeros(len(items), tokens, columns // 2)
    token_weights = torch.zeros_like(taught_tokens)
    for row, item in enumerate(items):
        count = len(item.window.ids)
        input_ids[row, :count] = torch.from_numpy(item.window.ids)
        mask[row, :count] = 1
        sentence_of[row, :count] = torch.from_numpy(item.window.sentence_of)
        targets[row, : len(item.targets)] = torch.from_numpy(item.targets)
        taught[row, : len(item.taught)] = torch.from_numpy(item.taught)
        taught_tokens[row, :count] = torch.from_numpy(item.taught_tokens)
        token_weights[row, :count] = torch.from_numpy(item.token_weights)
    return Batch(input_ids, mask, sentence_of, targets, taught, taught_tokens, token_weights)


def _targets(carried: Sequence[str], voice: Mapping[str, str], labels: Sequence[str]) -> list[float]:
    voices = [_VOICE[voice[label]] if label in voice else float(_UNKNOWN) for label in labels]
    return [float(label in carried) for label in labels] + voices

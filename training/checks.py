"""What is wrong in a label set that each file by itself cannot show: duplicates, conflicts, leakage between splits."""

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace

from .errors import LabelError
from .labels import SPLITS, Example, LabelSet, Split

# Sentences that share this much of their three-word runs (Jaccard index) are one sentence, reworded.
_NEAR = 0.6
_SHINGLE = 3
_MIN_WORDS = 8  # shorter ones are datelines and formulas, which recur
_WORD = re.compile(r"\w+")

_logger = logging.getLogger("paraframe.labels")


@dataclass(frozen=True, slots=True)
class Finding:
    kind: str
    message: str


def check(labels: LabelSet) -> list[Finding]:
    """Everything found, in a fixed order; an empty list for a clean set."""
    return [*_documents(labels), *_duplicates(labels), *_near_duplicates(labels), *_main(labels)]


def refuse_leaks(labels: LabelSet) -> None:
    """Raises LabelError if a document is in several splits, or a text of eight words or more, word for word."""
    for finding in (*_documents(labels), *_duplicates(labels)):
        if finding.kind == "leak":
            raise LabelError(f"{finding.message}: what is measured on would be learned")


def without_leaking_feedback(labels: LabelSet) -> LabelSet:
    """Without what clients gave labels to and is measured on; a warning names it. Their texts must not stop a training."""
    measured = {_key(example.text) for split, example in _texts(labels) if split != "train"} - {None}
    leaking = {e.id for e in labels.examples["train"] if e.id in labels.feedback and _key(e.text) in measured}
    if not leaking:
        return labels
    _logger.warning("left out, as it repeats what is measured on: %s", ", ".join(sorted(leaking)))
    kept = [example for example in labels.examples["train"] if example.id not in leaking]
    return replace(labels, examples={**labels.examples, "train": kept})


def _all(labels: LabelSet) -> Iterator[tuple[Split, Example]]:
    for split in SPLITS:
        for example in labels.examples[split]:
            yield split, example


def _texts(labels: LabelSet) -> Iterator[tuple[Split, Example]]:
    """All examples, and of what is measured on whole paragraphs too: as one text, somebody may have labelled them again."""
    yield from _all(labels)
    for split in SPLITS:
        for paragraph in labels.paragraphs(split) if split != "train" else ():
            if len(paragraph.sentences) > 1:
                carried = tuple(sorted(paragraph.labels))
                yield split, paragraph.sentences[0].model_copy(update={"text": paragraph.text, "labels": carried, "voice": {}})


def _documents(labels: LabelSet) -> Iterator[Finding]:
    splits_of: dict[str, set[str]] = defaultdict(set)
    places: Counter[tuple[str, int]] = Counter()
    for split, example in _all(labels):
        splits_of[example.doc_id].add(split)
        places[example.doc_id, example.position] += 1
        if split != "train" and example.kind != "natural":
            yield Finding("measure", f"{example.id} is {example.kind}: {split} holds natural text only")
    for doc_id, splits in sorted(splits_of.items()):
        if len(splits) > 1:
            yield Finding("leak", f"document {doc_id} is in {' and '.join(sorted(splits))}")
    for (doc_id, position), count in sorted(places.items()):
        if count > 1:
            yield Finding("position", f"document {doc_id} has {count} sentences at position {position}")


def _duplicates(labels: LabelSet) -> Iterator[Finding]:
    groups: dict[str, list[tuple[Split, Example]]] = defaultdict(list)
    for split, example in _texts(labels):
        if key := _key(example.text):
            groups[key].append((split, example))
    for group in groups.values():
        (split_of_first, first), *others = group
        for split, other in others:
            if other.doc_id == first.doc_id:  # a headline and its quotation
                continue
            kind = "conflict" if set(other.labels) != set(first.labels) else "duplicate"
            if split != split_of_first:
                kind = "leak"
            yield Finding(kind, f"{other.id} ({split}) repeats {first.id} ({split_of_first}): {first.text[:80]!r}")


def _near_duplicates(labels: LabelSet) -> Iterator[Finding]:
    shingles = {example.id: _shingles(example.text) for _, example in _all(labels)}
    holders: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for identity, own in shingles.items():
        shared: Counter[str] = Counter(other for shingle in own for other in holders[shingle])
        for other, common in shared.items():
            union = len(own) + len(shingles[other]) - common
            if _NEAR <= common / union < 1:
                yield Finding("near duplicate", f"{identity} is close to {other}")
        for shingle in own:
            holders[shingle].append(identity)


def _main(labels: LabelSet) -> Iterator[Finding]:
    for split in SPLITS:
        for paragraph in labels.paragraphs(split):
            coded = {sentence.main for sentence in paragraph.sentences}
            if len(coded) > 1:
                yield Finding("main", f"paragraph of {paragraph.sentences[0].id} has several main framings")
            elif not coded <= {None, "none", *paragraph.labels}:
                yield Finding("main", f"paragraph of {paragraph.sentences[0].id} lacks its main framing")


def _key(text: str) -> str | None:
    """What texts have in common that are the same word for word; None for short ones."""
    words = _words(text)
    return " ".join(words) if len(words) >= _MIN_WORDS else None


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _shingles(text: str) -> frozenset[tuple[str, ...]]:
    words = _words(text)
    if len(words) < _MIN_WORDS:
        return frozenset()
    return frozenset(zip(*(words[k:] for k in range(_SHINGLE)), strict=False))

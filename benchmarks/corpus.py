"""The texts that everything is measured on: paragraphs of the held-out splits of `labels/`, and documents made of them."""

from itertools import cycle, islice
from pathlib import Path
from typing import Literal

from service.inference.artifact import Artifact
from training.labels import Paragraph, read_labels

PARAGRAPHS_PER_DOCUMENT = 8


def held_out(artifact: Artifact, labels_folder: Path, split: Literal["validation", "test"] = "test") -> list[Paragraph]:
    return read_labels(labels_folder, labels=artifact.manifest.labels).paragraphs(split)


def documents(texts: list[str], count: int) -> list[str]:
    """`count` documents of eight paragraphs each."""
    source = cycle(texts)
    return ["\n\n".join(islice(source, PARAGRAPHS_PER_DOCUMENT)) for _ in range(count)]


def words(texts: list[str], count: int) -> str:
    """A document of so many words, in the paragraphs of `texts`."""
    paragraphs, total = [], 0
    for text in cycle(texts):
        own = text.split()[: count - total]
        paragraphs.append(" ".join(own))
        total += len(own)
        if total >= count:
            return "\n\n".join(paragraphs)
    raise ValueError("no texts")

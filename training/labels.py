"""Label files: annotated sentences, one a line of JSONL, in a folder laid out as Hugging Face `datasets` reads it.

`train.jsonl`, `validation.jsonl` and `test.jsonl` hold the project's corpus. Every file in `own/` (imported with
`paraframe labels import`) and `feedback/` (stored by the service) joins the training split; they need only `text`
and `labels`.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from .errors import LabelError

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
JOINING = ("own", "feedback")


class Example(BaseModel):
    """One annotated sentence. Fields that are not named here are allowed and ignored, as tools add their own.

    A text without `doc_id` stands for itself: it is a document and a paragraph of one sentence, whatever its length.
    """

    model_config = ConfigDict(frozen=True)

    text: str = Field(min_length=1)
    labels: tuple[str, ...]
    id: str = ""
    doc_id: str = ""
    paragraph: int = Field(default=0, ge=0)
    position: int = Field(default=0, ge=0, description="of the sentence in its document")
    voice: dict[str, Literal["own", "reported", "mixed"]] = {}
    main: str | None = Field(default=None, description="the framing that its paragraph mainly conveys, or `none`")
    genre: str = ""
    outlet: str = ""
    translated_from: str = ""
    kind: Literal["natural", "pointed", "own"] = "own"
    annotators: dict[str, list[str]] = {}
    reason: str = Field(default="", description="why the last of the annotators, who knew the others' votes, decided so")

    @model_validator(mode="after")
    def _voice_matches_labels(self) -> "Example":
        if strangers := sorted(set(self.voice) - set(self.labels)):
            raise ValueError(f"voice is given for {', '.join(strangers)}, which is not among the labels")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("a label is given twice")
        if not self.text.strip():
            raise ValueError("the text is blank")
        return self


@dataclass(frozen=True, slots=True)
class Paragraph:
    """The sentences of one paragraph, in order."""

    sentences: tuple[Example, ...]

    @property
    def doc_id(self) -> str:
        return self.sentences[0].doc_id

    @property
    def text(self) -> str:
        """One paragraph also where an example holds line breaks: that is how it was annotated."""
        return " ".join(" ".join(sentence.text.split()) for sentence in self.sentences)

    @property
    def labels(self) -> frozenset[str]:
        return frozenset(label for sentence in self.sentences for label in sentence.labels)

    @property
    def main(self) -> str | None:
        """The single label: as coded, or the only one that there is; None where several compete uncoded."""
        coded = self.sentences[0].main
        if coded is not None or len(self.labels) > 1:
            return coded
        return next(iter(self.labels), "none")


@dataclass(frozen=True, slots=True)
class LabelSet:
    """The examples of each split, and the sha256 of every file they came from, by path below the folder.

    `feedback`: the ids of those that the service stored.
    """

    examples: dict[Split, list[Example]]
    digests: dict[str, str]
    feedback: frozenset[str] = frozenset()

    def everything(self) -> list[Example]:
        return [example for split in SPLITS for example in self.examples[split]]

    def paragraphs(self, split: Split) -> list[Paragraph]:
        return paragraphs(self.examples[split])


def read_labels(folder: Path, *, labels: Sequence[str]) -> LabelSet:
    """All label files in `folder`. Raises LabelError, naming file and line, for what is broken or contradictory."""
    files: list[tuple[Split, Path]] = [(split, folder / f"{split}.jsonl") for split in SPLITS]
    files += [("train", path) for name in JOINING for path in sorted((folder / name).glob("*.jsonl"))]
    examples: dict[Split, list[Example]] = {split: [] for split in SPLITS}
    digests: dict[str, str] = {}
    seen: dict[str, str] = {}
    feedback: set[str] = set()
    for split, path in files:
        content = _read(path)
        if path.parent.name == "feedback":  # being written meanwhile: what is not yet a whole line is not yet there
            content = _whole_lines(content)
        for number, example in _examples(content, path, labels):
            where = f"{path}:{number}"
            if example.id in seen:
                raise LabelError(f"{where}: id {example.id!r} was used at {seen[example.id]}")
            seen[example.id] = where
            examples[split].append(example)
            if path.parent.name == "feedback":
                feedback.add(example.id)
        digests[str(path.relative_to(folder))] = hashlib.sha256(content).hexdigest()
    return LabelSet(examples, digests, frozenset(feedback))


def read_file(path: Path, *, labels: Sequence[str]) -> Iterator[tuple[int, Example]]:
    """(line number, example) of one file; blank lines are passed over. Raises LabelError, naming file and line."""
    yield from _examples(_read(path), path, labels)


def _whole_lines(content: bytes) -> bytes:
    end = content.rfind(b"\n") + 1
    try:
        json.loads(content[end:])
    except ValueError:
        return content[:end]
    return content


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise LabelError(f"{path}: cannot be read: {error.strerror}") from error


def _examples(content: bytes, path: Path, labels: Sequence[str]) -> Iterator[tuple[int, Example]]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LabelError(f"{path}: not UTF-8: {error}") from error
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            where = f"{path}:{number}"
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                raise LabelError(f"{where}: broken JSON: {error}") from error
            yield number, parse(record, where=where, default=f"{path.stem}-{number}", labels=labels)


def parse(record: Any, *, where: str, default: str, labels: Sequence[str]) -> Example:
    """The example that one JSON object tells of; `default` is the id of one without. Raises LabelError, which names `where`."""
    if not isinstance(record, dict):
        raise LabelError(f"{where}: an object with `text` and `labels` was expected, not {type(record).__name__}")
    if record.get("labels") == ["none"]:
        record["labels"] = []
    try:
        example = Example.model_validate(record)
    except ValidationError as error:
        reasons = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'line'}: {e['msg']}" for e in error.errors())
        raise LabelError(f"{where}: {reasons}") from error
    known = {*labels, "none"}
    if unknown := [label for label in (*example.labels, example.main or "none") if label not in known]:
        raise LabelError(f"{where}: unknown label {unknown[0]!r}; the codebook has {', '.join(labels)}")
    if "none" in example.labels:
        raise LabelError(f"{where}: `none` stands with other labels; leave `labels` empty instead")
    identity = example.id or default
    return example.model_copy(update={"id": identity, "doc_id": example.doc_id or identity})


def paragraphs(examples: Iterable[Example]) -> list[Paragraph]:
    """Sentences put together again, in the order of their documents' first appearance."""
    groups: dict[tuple[str, int], list[Example]] = defaultdict(list)
    for example in examples:
        groups[example.doc_id, example.paragraph].append(example)
    return [Paragraph(tuple(sorted(group, key=lambda e: e.position))) for group in groups.values()]


def write_file(path: Path, examples: Iterable[Example]) -> None:
    """One example a line; fields at their defaults are left out, but not `labels`."""
    lines = [json.dumps(record(example), ensure_ascii=False) for example in examples]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def record(example: Example) -> dict[str, Any]:
    """The JSON object of an example; reading it again gives the same example."""
    return {"id": example.id, **example.model_dump(mode="json", exclude_defaults=True), "labels": list(example.labels)}


def tally(examples: Iterable[Example], labels: Sequence[str]) -> dict[str, int]:
    """Sentences, documents, and sentences per label: what a card or a table tells of a set."""
    listed = list(examples)
    counts = Counter(label for e in listed for label in e.labels)
    return {
        "sentences": len(listed),
        "documents": len({e.doc_id for e in listed}),
        "none": sum(not e.labels for e in listed),
        **{label: counts[label] for label in labels},
    }

"""Batch labelling: documents in, a row per paragraph out, in the order of the input."""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TextIO

from tqdm import tqdm

from service.inference.classifier import Classifier, LabelledParagraph
from service.inference.errors import ParaframeError

from .inputs import LINE_SUFFIXES, Document, Unreadable, find_files, read_documents
from .output import Digest, Output

FORMATS = ("jsonl", "csv")
_CHUNK = 64  # documents at once: enough to fill batches of like lengths, few enough to hold in memory
# What a spreadsheet would run as a formula; a leading apostrophe makes it text (OWASP, "CSV Injection").
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")

Row = dict[str, Any]


@dataclass
class Report:
    """What became of the inputs."""

    documents: int = 0
    paragraphs: int = 0
    failures: list[Unreadable] = field(default_factory=list)
    resumed: int = 0  # documents that an earlier run had labelled

    @property
    def exit_status(self) -> int:
        """0 all labelled, 1 some failed, 2 nothing could be done."""
        if not self.documents:
            return 2
        return 1 if self.failures else 0


class _Writer(Protocol):
    def write(self, row: Row) -> None: ...


def label(classifier: Classifier, inputs: Sequence[Path], output: Output, *, format: str, encoding: str, quiet: bool) -> Report:
    """Label every document of `inputs` and write its rows to `output`; failures are collected and never end the run."""
    run = f"{classifier.artifact.sha256} {format}"
    documents, digest, report = _begin(inputs, encoding, output, run)
    writer: _Writer = _JsonLines(output.text) if format == "jsonl" else _Csv(output.text, head=output.head())
    with tqdm(unit=" documents", disable=quiet, total=_count(inputs), initial=digest.inputs) as progress:
        for chunk in _chunks(documents, digest, report):
            for document, paragraphs in _label_chunk(classifier, chunk, report):
                for row in rows(document, paragraphs, classifier):
                    writer.write(row)
                report.documents += 1
                report.paragraphs += len(paragraphs)
                progress.set_postfix(paragraphs=report.paragraphs, refresh=False)
            progress.update(len(chunk))
            output.save(
                run=run,
                digest=digest,
                documents=report.documents,
                paragraphs=report.paragraphs,
                failures=report.failures,
            )
    return report


def _begin(
    inputs: Sequence[Path], encoding: str, output: Output, run: str
) -> tuple[Iterator[Document | Unreadable], Digest, Report]:
    """The documents yet to label, past those that an earlier run of the same model labelled, if these inputs begin so."""
    if (saved := output.saved) is not None and saved.run == run:
        documents, digest = _documents(inputs, encoding), Digest()
        for item in islice(documents, saved.inputs):
            digest.add(item)
        if str(digest) == saved.digest:
            output.resume()
            failures = [Unreadable(origin, reason) for origin, reason in saved.failures]
            return documents, digest, Report(saved.documents, saved.paragraphs, failures, resumed=saved.documents)
    output.restart()
    return _documents(inputs, encoding), Digest(), Report()


def rows(document: Document, paragraphs: list[LabelledParagraph], classifier: Classifier) -> Iterator[Row]:
    """A row per paragraph, with the meaning that its fields have over HTTP, then the input's own fields.

    A field of the input that bears the name of one of ours comes back as `input_` and that name.
    """
    for index, labelled in enumerate(paragraphs):
        own = _own_fields(document, index, labelled, classifier)
        passed = {f"input_{key}" if key in own else key: value for key, value in document.extra.items()}
        yield {**own, **passed}


def _own_fields(document: Document, index: int, labelled: LabelledParagraph, classifier: Classifier) -> Row:
    span, decision = labelled.span, labelled.decision
    return {
        "doc_id": document.id,
        "paragraph": index,
        "start": span.start,
        "end": span.end,
        "text": document.text[span.start : span.end],
        "label": decision.label,
        "confidence": decision.confidence,
        "unsure": decision.unsure,
        "labels": list(decision.labels),
        "voice": decision.voice,
        "scores": decision.scores,
        "evidence": [
            {
                "start": s.start,
                "end": s.end,
                "text": document.text[s.start : s.end],
                "label": e.label,
                "score": e.score,
                "voice": e.voice,
            }
            for e in decision.evidence
            for s in [span.sentences[e.sentence]]
        ],
        "warning": labelled.oddity,
        "model": classifier.artifact.version,
        "model_sha256": classifier.artifact.sha256,
    }


def _documents(inputs: Sequence[Path], encoding: str) -> Iterator[Document | Unreadable]:
    for found in find_files(inputs):
        if isinstance(found, Unreadable):
            yield found
        else:
            yield from read_documents(found, encoding=encoding)


def _chunks(documents: Iterator[Document | Unreadable], digest: Digest, report: Report) -> Iterator[list[Document]]:
    while chunk := list(islice(documents, _CHUNK)):
        for item in chunk:
            digest.add(item)
        report.failures += [d for d in chunk if isinstance(d, Unreadable)]
        yield [d for d in chunk if isinstance(d, Document)]


def _label_chunk(
    classifier: Classifier, chunk: list[Document], report: Report
) -> Iterator[tuple[Document, list[LabelledParagraph]]]:
    """A chunk at once; if that fails, each document by itself, so that a bad one fails alone."""
    try:
        yield from zip(chunk, classifier.classify_many(d.text for d in chunk), strict=True)
        return
    except ParaframeError:
        pass
    for document in chunk:
        try:
            paragraphs = classifier.classify(document.text)
        except ParaframeError as error:
            report.failures.append(Unreadable(document.origin, str(error)))
        else:
            yield document, paragraphs


def _count(inputs: Sequence[Path]) -> int | None:
    """How many documents there are; None where a file cannot be read to its end."""
    total = 0
    for path in find_files(inputs):
        if isinstance(path, Unreadable) or not path.is_file():
            continue
        if path.name.endswith(LINE_SUFFIXES):
            try:
                with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
                    total += sum(1 for line in file if line.strip())
            except (OSError, EOFError, zlib.error):
                return None
        else:
            total += 1
    return total


class _JsonLines:
    def __init__(self, out: TextIO) -> None:
        self._out = out

    def write(self, row: Row) -> None:
        self._out.write(json.dumps(row, ensure_ascii=False) + "\n")


class _Csv:
    """For spreadsheets: lists joined, scores and voices in columns of their own, no cell that runs as a formula."""

    def __init__(self, out: TextIO, *, head: str) -> None:
        """`head`: how the file begins, if it holds something already."""
        self._out = out
        self._columns = next(csv.reader(io.StringIO(head)), None)

    def write(self, row: Row) -> None:
        flat = _flatten(row)
        if self._columns is None:
            self._columns = list(flat)
            self._out.write("\ufeff")  # without the mark, Excel takes UTF-8 for something else
            csv.writer(self._out).writerow(self._columns)
        csv.writer(self._out).writerow([_harmless(flat.get(column, "")) for column in self._columns])


def _flatten(row: Row) -> Row:
    flat = dict(row)
    flat["labels"] = "; ".join(row["labels"])
    scores = flat.pop("scores")
    voice = flat.pop("voice")
    evidence = flat.pop("evidence")
    flat.update({f"score_{label}": score for label, score in scores.items()})
    flat.update({f"voice_{label}": voice.get(label, "") for label in scores})
    flat["evidence"] = " | ".join(f"[{e['label']}] {e['text']}" for e in evidence)
    return flat


def _harmless(value: Any) -> Any:
    if isinstance(value, (dict, list)):
        value = json.dumps(value, ensure_ascii=False)
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_STARTS) else value

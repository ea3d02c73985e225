"""Batch labelling: documents in, a row per paragraph out, in the order of the input."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

from tqdm import tqdm

from service.inference.classifier import Classifier, LabelledParagraph
from service.inference.errors import ParaframeError

from .inputs import Document, Unreadable, read_inputs
from .output import Digest, Output
from .rows import Csv, Format, JsonLines, rows

Read = Callable[[], Iterator[Document | Unreadable]]

_CHUNK = 64  # documents at once: enough to fill batches of like lengths, few enough to hold in memory


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


def label(classifier: Classifier, inputs: Sequence[Path], output: Output, *, format: str, encoding: str, quiet: bool) -> Report:
    """Label every document of `inputs` and write its rows to `output`; failures are collected and never end the run."""
    read = partial(read_inputs, inputs, encoding=encoding, without=output.target)
    count, fields = (None, []) if quiet and format == "jsonl" else _survey(read)
    labels = classifier.artifact.manifest.labels
    written: Format = JsonLines() if format == "jsonl" else Csv(labels, fields)
    run = f"{classifier.artifact.sha256} {format} {written.head}"
    documents, digest, report = _begin(read, output, run)
    if not digest.inputs:
        output.write(written.head)
    with tqdm(unit=" documents", disable=quiet, total=count, initial=digest.inputs) as progress:
        for chunk in _chunks(documents, digest, report):
            for document, paragraphs in _label_chunk(classifier, chunk, report):
                output.write(written.lines(rows(document, paragraphs, classifier)))
                report.documents += 1
                report.paragraphs += len(paragraphs)
                progress.set_postfix(paragraphs=report.paragraphs, refresh=False)
            progress.update(digest.inputs - progress.n)
            output.save(
                run=run,
                digest=digest,
                documents=report.documents,
                paragraphs=report.paragraphs,
                failures=report.failures,
            )
    return report


def _survey(read: Read) -> tuple[int, list[str]]:
    """How many inputs there are, and their own fields: a table's columns are known before its rows."""
    count = 0
    fields: dict[str, None] = {}
    for item in read():
        count += 1
        if isinstance(item, Document):
            fields.update(dict.fromkeys(item.extra))
    return count, list(fields)


def _begin(read: Read, output: Output, run: str) -> tuple[Iterator[Document | Unreadable], Digest, Report]:
    """The documents yet to label, past those that an earlier run of the same model labelled, if these inputs begin so."""
    if (saved := output.saved) is not None and saved.run == run:
        documents, digest = read(), Digest()
        for item in islice(documents, saved.inputs):
            digest.add(item)
        if str(digest) == saved.digest:
            output.resume()
            failures = [Unreadable(origin, reason) for origin, reason in saved.failures]
            return documents, digest, Report(saved.documents, saved.paragraphs, failures, resumed=saved.documents)
    output.restart()
    return read(), Digest(), Report()


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

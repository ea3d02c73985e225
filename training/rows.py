"""The rows of `paraframe label`, and the two formats they are written in."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from service.inference.classifier import Classifier, LabelledParagraph

from .inputs import Document

# What a spreadsheet would run as a formula; a leading apostrophe makes it text (OWASP, "CSV Injection").
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_PLAIN_COLUMNS = ("doc_id", "paragraph", "start", "end", "text", "label", "confidence", "unsure", "labels")
_LAST_COLUMNS = ("evidence", "warning", "model", "model_sha256")

Row = dict[str, Any]


class Format(Protocol):
    """`head` opens a file; `lines` are its rows."""

    head: str

    def lines(self, rows: Iterable[Row]) -> str: ...


def rows(document: Document, paragraphs: list[LabelledParagraph], classifier: Classifier) -> Iterator[Row]:
    """A row per paragraph, with the meaning that its fields have over HTTP, then the input's own fields.

    A field of the input that bears the name of one of ours comes back as `input_` and that name.
    """
    for index, labelled in enumerate(paragraphs):
        own = _own_fields(document, index, labelled, classifier)
        yield {**own, **{_passed(key): value for key, value in document.extra.items()}}


def _passed(key: str) -> str:
    """The name under which a field of the input comes back: never one of ours, never another field's."""
    ours = key in (*_PLAIN_COLUMNS, "voice", "scores", *_LAST_COLUMNS) or key.startswith(("score_", "voice_", "input_"))
    return f"input_{key}" if ours else key


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


class JsonLines:
    """Rows as they are."""

    head = ""

    def lines(self, rows: Iterable[Row]) -> str:
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


class Csv:
    """For spreadsheets: lists joined, scores and voices in columns of their own, no cell that runs as a formula."""

    def __init__(self, labels: Sequence[str], fields: Sequence[str]) -> None:
        """`fields`: the inputs' own, which become the last columns."""
        numbers = [f"{kind}_{label}" for kind in ("score", "voice") for label in labels]
        self._columns = [*_PLAIN_COLUMNS, *numbers, *_LAST_COLUMNS, *map(_passed, fields)]
        head = self._text([[harmless(column) for column in self._columns]])
        self.head = f"\ufeff{head}"  # without the mark, Excel takes UTF-8 for something else

    def lines(self, rows: Iterable[Row]) -> str:
        return self._text([harmless(flat.get(column, "")) for column in self._columns] for flat in map(_flatten, rows))

    def _text(self, lines: Iterable[Sequence[Any]]) -> str:
        out = io.StringIO()
        csv.writer(out).writerows(lines)
        return out.getvalue()


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


def harmless(value: Any) -> Any:
    """A cell's value, such that no spreadsheet runs it."""
    if isinstance(value, (dict, list)):
        value = json.dumps(value, ensure_ascii=False)
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_STARTS) else value


def as_typed(cell: str) -> str:
    """The value of a cell that `harmless` made."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA_STARTS) else cell

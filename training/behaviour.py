"""The behavioural suite: minimal pairs that must flip a label, and pairs that must not. Never trained on.

After Ribeiro et al. 2020, "Beyond Accuracy: Behavioral Testing of NLP Models with CheckList".
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from service.inference.classifier import Classifier
from service.inference.decide import Decision

from .errors import LabelError

Result = dict[str, Any]


class Pair(BaseModel):
    """Texts `a` and `b`, and what must differ between their answers.

    A flip: `label` appears, disappears, or (both carry it) goes from the own voice to a reported one. A keep: the labels are
    the same, right or wrong; `labels` is what coders gave both. `change` says in a word or two what was done to the text.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    kind: Literal["flip", "keep"]
    change: str
    a: str = Field(min_length=1)
    b: str = Field(min_length=1)
    label: str | None = None
    expect: Literal["appears", "disappears", "voice"] | None = None
    labels: tuple[str, ...] | None = None
    why: str = ""

    @model_validator(mode="after")
    def _flip_says_what(self) -> "Pair":
        if self.kind == "flip" and not (self.label and self.expect):
            raise ValueError("a flip needs `label` and `expect`")
        return self


def read_pairs(path: Path) -> list[Pair]:
    """The pairs of a file. Raises LabelError, naming file and line."""
    pairs = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if not line.strip():
            continue
        try:
            pairs.append(Pair.model_validate_json(line))
        except ValidationError as error:
            raise LabelError(f"{path}:{number}: {error.errors()[0]['msg']}") from error
    return pairs


def read_suite(labels_folder: Path) -> list[Pair]:
    """The pairs that a labels folder holds; none if it has no suite."""
    suite = labels_folder / "behaviour" / "pairs.jsonl"
    return read_pairs(suite) if suite.is_file() else []


def behave(classifier: Classifier, pairs: Sequence[Pair]) -> Result:
    """Share of the pairs that pass: flips, whole and by label and expectation; keeps, whole and by change."""
    decisions = iter([p[0].decision for p in classifier.classify_many(text for pair in pairs for text in (pair.a, pair.b))])
    passed: dict[str, list[tuple[str, bool]]] = {"flip": [], "keep": []}
    for pair in pairs:
        group = f"{pair.label} {pair.expect}" if pair.kind == "flip" else pair.change
        passed[pair.kind].append((group, _passes(pair, next(decisions), next(decisions))))
    return {kind: _shares(results) for kind, results in passed.items()}


def _passes(pair: Pair, a: Decision, b: Decision) -> bool:
    if pair.kind == "keep":
        return set(a.labels) == set(b.labels)
    label = pair.label or ""
    if pair.expect == "voice":
        return a.voice.get(label) == "own" and b.voice.get(label) == "reported"
    before, after = label in a.labels, label in b.labels
    return after and not before if pair.expect == "appears" else before and not after


def _shares(results: Iterable[tuple[str, bool]]) -> Result:
    groups: dict[str, list[bool]] = defaultdict(list)
    for group, passed in results:
        groups[group].append(passed)
    everything = [passed for group in groups.values() for passed in group]
    return {
        "n": len(everything),
        "passed": sum(everything) / len(everything) if everything else None,
        "groups": {name: {"n": len(g), "passed": sum(g) / len(g)} for name, g in sorted(groups.items())},
    }

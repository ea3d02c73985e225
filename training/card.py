"""The model card of a version, from its manifest and metrics."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from service.inference.artifact import Manifest

if TYPE_CHECKING:  # `paraframe models` shows cards where no training tool is installed
    from .metrics import Metrics

_MEANING = """\
A framing found is not a verdict of propaganda: news that reports a framing carries it too, and `voice` says whose it is.
No single text can show what it leaves out: `omission_secrecy` marks what a text says about withholding. A paragraph
without a label is one in which the model found none of these four, not a neutral or true one. Confidence holds for English
news, official statements and opinion; text unlike these is flagged in `warnings`. Do not use labels to judge a person or
an outlet without reading the passages: `evidence` says where they are.
"""


def render(manifest: Manifest, metrics: "Mapping[str, Metrics]") -> str:
    """The card as Markdown with the front matter of Hugging Face model cards."""
    header = "\n".join(
        [
            "---",
            "library_name: openvino",
            "pipeline_tag: text-classification",
            f"language: {manifest.language}",
            "license: apache-2.0",
            f"base_model: {manifest.base_model.name}",
            "---",
        ]
    )
    return "\n".join(
        [
            header,
            "",
            f"# {manifest.name} {manifest.version}",
            "",
            "Labels the framings that a paragraph carries: " + ", ".join(f"`{label}`" for label in manifest.labels) + ".",
            "",
            "## What the labels do not mean",
            "",
            _MEANING,
            "## Measured",
            "",
            "On the test split of the project's corpus: documents never trained or calibrated on.",
            "",
            table({"this version": metrics["test"]}),
            "",
            per_label(metrics["test"]),
            "",
            *_beside(metrics),
            "## Made from",
            "",
            f"Base model {manifest.base_model.name} (weights sha256 `{manifest.base_model.sha256}`), the recipe in",
            "`recipe.toml`, and the label files whose sha256 the manifest names. The codebook that it learned is in",
            "`codebook.json`; thresholds and calibration come from the validation split alone.",
            "",
        ]
    )


def _beside(metrics: "Mapping[str, Metrics]") -> list[str]:
    """What stands beside the numbers: evidence, minimal pairs, coders."""
    lines = [evidence(metrics["test"]), ""]
    if metrics["behaviour"]:
        lines += [behaviour_table(metrics["behaviour"]), ""]
    if coders := metrics["coders_f1"]:
        shown = ", ".join(f"{f1:.3f} on `{name}`" for name, f1 in coders.items())
        lines += [f"The two coders of the corpus, blind to each other, agree at F1 {shown}.", ""]
    return lines


def evidence(metrics: "Metrics") -> str:
    """How the named sentences carry their label, in a sentence."""
    found = metrics["evidence"]
    if not found["n"]:
        return "No paragraph has sentences enough to try its evidence on."
    return (
        f"Without the sentences that are named as evidence the label goes in {found['drops_without']:.1%} of {found['n']} "
        f"cases; without as many others it stays in {found['stays_without_others']:.1%}."
    )


def table(rows: "Mapping[str, Metrics]") -> str:
    """One line a model: what is compared side by side."""
    lines = [
        "| model | macro-F1 | 95% | single label | confidence ECE | voice |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, m in rows.items():
        low, high = m["macro_f1_95"]
        lines.append(
            f"| {name} | {m['macro_f1']:.3f} | {low:.3f} to {high:.3f} | {_number(m['single_label_accuracy'])} "
            f"| {_number(m['confidence_ece'])} | {_number(m['voice']['accuracy'])} |"
        )
    return "\n".join(lines)


def per_label(metrics: "Metrics") -> str:
    lines = [
        "| label | n | precision | recall | F1 | average precision | ECE |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [_label_row(label, m) for label, m in metrics["labels"].items()]
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _label_row(label: str, m: "Metrics") -> str:
    cells: Sequence[str] = [
        f"`{label}`",
        str(m["n"]),
        *(f"{m[k]:.3f}" for k in ("precision", "recall", "f1")),
        _number(m["average_precision"]),
        f"{m['ece']:.3f}",
    ]
    return f"| {' | '.join(cells)} |"


def behaviour_table(behaviour: "Metrics") -> str:
    """One line a kind of pair."""
    lines = ["| minimal pairs | n | passed |", "| --- | --- | --- |"]
    names = {"flip": "that must flip a label", "keep": "that must not"}
    lines += [f"| {names[kind]} | {row['n']} | {row['passed']:.3f} |" for kind, row in behaviour.items() if row["n"]]
    return "\n".join(lines)

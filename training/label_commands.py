"""`paraframe labels ...`: work on the label files."""

import csv
import json
import random
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import click

from service.inference.classifier import Classifier
from service.inference.errors import InputError
from service.inference.registry import Registry

from .checks import check, refuse_leaks, without_leaking_feedback
from .codebook import read_codebook
from .errors import LabelError
from .labels import SPLITS, Example, parse, read_file, read_labels, tally, write_file
from .options import LABELS, MODELS, handle_errors, needs_training_tools
from .rows import as_typed, harmless


@click.group("labels")
def labels_group() -> None:
    """Check, import, export, compare and extend the label files."""


@labels_group.command("check")
@LABELS
@handle_errors
def check_(labels_folder: Path) -> None:
    """Find broken lines, unknown labels, duplicates, conflicts, and leakage between splits. Exit status 1 if any.

    \b
    paraframe labels check
    """
    label_set = read_labels(labels_folder, labels=read_codebook(labels_folder).ids)
    findings = check(label_set)
    for finding in findings:
        click.echo(f"{finding.kind}: {finding.message}")
    total = sum(len(label_set.examples[split]) for split in SPLITS)
    click.echo(f"{total} sentences, {len(findings)} findings", err=True)
    sys.exit(1 if findings else 0)


@labels_group.command()
@LABELS
@handle_errors
def stats(labels_folder: Path) -> None:
    """Count sentences, documents and labels per split, and labels per genre.

    \b
    paraframe labels stats
    """
    codebook = read_codebook(labels_folder)
    label_set = read_labels(labels_folder, labels=codebook.ids)
    columns = ["sentences", "documents", "none", *codebook.ids]
    rows: dict[str, dict[str, int]] = {split: tally(label_set.examples[split], codebook.ids) for split in SPLITS}
    everything = label_set.everything()
    rows["all"] = tally(everything, codebook.ids)
    genres: dict[str, list[Example]] = defaultdict(list)
    for example in everything:
        genres[example.genre or "(no genre)"].append(example)
    _print_table("split", columns, rows)
    click.echo()
    _print_table("genre", columns, {name: tally(genres[name], codebook.ids) for name in sorted(genres)})


def _print_table(first: str, columns: list[str], rows: dict[str, dict[str, int]]) -> None:
    width = max(len(first), *(len(name) for name in rows))
    click.echo("  ".join([first.ljust(width), *columns]))
    for name, counts in rows.items():
        click.echo("  ".join([name.ljust(width), *(str(counts[c]).rjust(len(c)) for c in columns)]))


@labels_group.command()
@LABELS
@handle_errors
@needs_training_tools
def agreement(labels_folder: Path) -> None:
    """Agreement of the coders, per label and for voice, from the raw votes.

    \b
    paraframe labels agreement
    """
    from .agreement import agreement as compute

    codebook = read_codebook(labels_folder)
    label_set = read_labels(labels_folder, labels=codebook.ids)
    table = compute(label_set.everything(), codebook)
    click.echo("| label | Krippendorff's alpha | pairwise F1 | units |\n| --- | --- | --- | --- |")
    for name, row in table.items():
        click.echo(f"| {name} | {row.alpha:.3f} | {row.f1:.3f} | {row.units} |")


@labels_group.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@LABELS
@handle_errors
def import_(file: Path, labels_folder: Path) -> None:
    """Check FILE and add it to labels/own, where the next training run finds it.

    FILE is JSONL with `text` and `labels` on each line, or CSV with these columns, labels parted by `;`.

    \b
    paraframe labels import my-labels.jsonl
    """
    known = read_codebook(labels_folder).ids
    examples = _from_csv(file, known) if file.suffix == ".csv" else [example for _, example in read_file(file, labels=known)]
    target = labels_folder / "own" / f"{file.stem}.jsonl"
    if target.exists():
        raise LabelError(f"{target} exists already: rename the file, or delete that one")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:  # what is right by itself may contradict what is there, or be what is measured on
        write_file(target, examples)
        refuse_leaks(without_leaking_feedback(read_labels(labels_folder, labels=known)))
    except BaseException:  # whatever ends this, an unchecked file must not stay
        target.unlink(missing_ok=True)
        raise
    click.echo(f"{len(examples)} examples are in {target}; the next `paraframe train` learns from them", err=True)


def _from_csv(file: Path, labels: Sequence[str]) -> list[Example]:
    """Raises LabelError, naming file and line."""
    examples = []
    with file.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines)
        if not {"text", "labels"} <= set(reader.fieldnames or ()):
            raise LabelError(f"{file}: the columns `text` and `labels` are needed")
        try:
            for number, row in enumerate(reader, 1):
                carried = [label.strip() for label in (row["labels"] or "").split(";") if label.strip()]
                record = {"text": as_typed(row["text"] or ""), "labels": carried}
                where = f"{file}:{reader.line_num}"
                examples.append(parse(record, where=where, default=f"{file.stem}-{number}", labels=labels))
        except csv.Error as error:
            raise LabelError(f"{file}:{reader.line_num + 1}: {error}") from error
    return examples


@labels_group.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A .jsonl or .csv file.")
@click.option("--split", type=click.Choice(SPLITS), default="train", show_default=True)
@LABELS
@handle_errors
def export(out: Path, split: str, labels_folder: Path) -> None:
    """Write one split as JSONL, or as CSV for a spreadsheet.

    \b
    paraframe labels export --split test --out test.csv
    """
    label_set = read_labels(labels_folder, labels=read_codebook(labels_folder).ids)
    examples = label_set.examples[next(s for s in SPLITS if s == split)]
    if out.suffix != ".csv":
        write_file(out, examples)
    else:
        with out.open("w", encoding="utf-8-sig", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "doc_id", "text", "labels", "voice", "genre"])
            for e in examples:
                cells = [e.id, e.doc_id, e.text, "; ".join(e.labels), json.dumps(e.voice), e.genre]
                writer.writerow([harmless(cell) for cell in cells])
    click.echo(f"{len(examples)} sentences are in {out}", err=True)


@labels_group.command()
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--count", default=50, show_default=True, type=click.IntRange(1))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A .jsonl file to correct and import.")
@MODELS
@handle_errors
def suggest(inputs: tuple[Path, ...], count: int, out: Path, models: Path) -> None:
    """Choose the paragraphs of INPUTS that are most worth a person's label, and write them with the model's guess.

    The least sure first; one in five is drawn at random, so that what is learned from is not only what is hard.

    \b
    paraframe labels suggest seeds --count 20 --out to-label.jsonl
    """
    from .inputs import Document, read_inputs

    if out.exists():
        raise LabelError(f"{out} exists already, with somebody's corrections perhaps: name another file, or delete that one")
    registry = Registry(models)
    classifier = Classifier(registry.read(registry.current()))
    found: list[tuple[float, Example]] = []
    for item in read_inputs(inputs, encoding="utf-8"):
        if not isinstance(item, Document):
            click.echo(f"{item.origin}: {item.reason}", err=True)
            continue
        try:
            for p in classifier.classify(item.text):
                text = item.text[p.span.start : p.span.end]
                if p.oddity is None:  # what the model cannot read, it should not learn
                    found.append((p.decision.confidence, Example(text=text, labels=p.decision.labels, voice=p.decision.voice)))
        except InputError as error:
            click.echo(f"{item.origin}: {error}", err=True)
    if not found:
        raise LabelError("no input has a text that the model can read")
    found.sort(key=lambda pair: pair[0])
    at_random = min(count // 5, max(0, len(found) - count))
    least_sure = found[: count - at_random]
    chosen = least_sure + random.Random(0).sample(found[len(least_sure) :], at_random)
    write_file(out, (example for _, example in chosen))
    click.echo(f"{len(chosen)} paragraphs are in {out}: correct `labels`, then paraframe labels import {out}", err=True)

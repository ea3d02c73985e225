"""The command line: `paraframe`. Each command is a thin shell over a plain function."""

import json
import os
import sys
from pathlib import Path

import click

from service.inference.artifact import read_artifact
from service.inference.classifier import Classifier
from service.inference.errors import ArtifactError, UnknownVersionError
from service.inference.golden import try_golden
from service.inference.registry import Registry

from .label_commands import labels_group
from .options import LABELS, MODELS, folder_option, handle_errors, needs_training_tools

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(context_settings=_CONTEXT)
def main() -> None:
    """Paraframe: how a text frames what it tells.

    \b
    paraframe label seeds --out results.jsonl     label a folder
    paraframe serve                               start the REST service
    paraframe train                               train on labels/ and what was added to it
    """


main.add_command(labels_group)


@main.command()
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", required=True, help="File to write, or - for standard output.")
@click.option("--format", "format_", type=click.Choice(["jsonl", "csv"]), help="Default: by the ending of --out.")
@click.option("--model", "version", help="Model version. Default: the one that is served.")
@click.option("--encoding", default="utf-8", show_default=True, help="Of .txt and .md files without a byte order mark.")
@click.option("--threads", type=click.IntRange(1), help="Processor threads. Default: all.")
@click.option("--quiet", is_flag=True, help="No progress bar, no summary.")
@MODELS
@handle_errors
def label(
    inputs: tuple[Path, ...],
    out: str,
    format_: str | None,
    version: str | None,
    encoding: str,
    threads: int | None,
    quiet: bool,
    models: Path,
) -> None:
    """Label files and folders: .txt, .md, .jsonl, .jsonl.gz.

    Writes a row per paragraph, in the order of the input. What cannot be read is named and passed over. A run that was cut
    short leaves its rows in .NAME.part beside the output; the same command goes on from there. Exit status: 0 all labelled,
    1 some inputs failed, 2 nothing could be done.

    \b
    paraframe label seeds --out results.jsonl
    paraframe label report.txt --out - --quiet
    """
    from . import label as batch
    from .output import open_output

    registry = Registry(models)
    classifier = Classifier(registry.read(version or registry.current()), threads=threads)
    chosen = format_ or ("csv" if out.endswith(".csv") else "jsonl")
    with open_output(out) as output:
        report = batch.label(classifier, inputs, output, format=chosen, encoding=encoding, quiet=quiet)
        output.worthless = not report.documents
    for failure in report.failures:
        click.echo(f"{failure.origin}: {failure.reason}", err=True)
    if not quiet:
        click.echo(
            f"{report.paragraphs} paragraphs of {report.documents} documents labelled by {classifier.artifact.version}"
            + (f" ({report.resumed} documents of them by a run that was cut short)" if report.resumed else "")
            + f", {len(report.failures)} inputs failed",
            err=True,
        )
    sys.exit(report.exit_status)


@main.command()
@LABELS
@click.option("--base-model", help="Name or folder of a pretrained encoder, in place of the recipe's.")
@click.option("--recipe", "recipe_name", default="small", show_default=True, help="A name in training/recipes, or a file.")
@click.option("--teacher", type=click.Path(path_type=Path), help="Folder of a version to learn from beside the labels.")
@folder_option("--out", "models", default="models", envvar="MODELS_DIR", help="The folder that the version is written to.")
@click.option("--version", help="Name of the new version. Default: the next number.")
@click.option("--quiet", is_flag=True, help="No progress bars.")
@handle_errors
@needs_training_tools
def train(
    labels_folder: Path,
    base_model: str | None,
    recipe_name: str,
    teacher: Path | None,
    models: Path,
    version: str | None,
    quiet: bool,
) -> None:
    """Train, calibrate, export and evaluate a new version.

    Every file in labels/own and labels/feedback joins the training split. The new version is not served until
    `paraframe promote`.

    \b
    paraframe train
    paraframe train --recipe base --out teachers
    paraframe train --teacher teachers/1.0.0
    """
    from .base_models import resolve
    from .pipeline import Plan
    from .pipeline import train as run
    from .recipe import read_recipe

    recipe = read_recipe(recipe_name, base_model=base_model)
    registry = Registry(models)
    made = version or registry.next_version()
    taught_by = read_artifact(teacher) if teacher else None
    plan = Plan(labels_folder, recipe, resolve(recipe.base_model), taught_by)
    folder = run(plan, registry, made, quiet=quiet)
    click.echo(f"wrote {folder}", err=True)
    _compare(registry, [made])


@main.command()
@click.argument("versions", nargs=-1)
@click.option("--data", type=click.Path(path_type=Path), help="A label file. Default: the test split in labels/.")
@LABELS
@click.option("--baselines", is_flag=True, help="Beside what a user would try first, trained on the same labels.")
@click.option("--json", "as_json", is_flag=True, help="All numbers, as JSON.")
@MODELS
@handle_errors
@needs_training_tools
def evaluate(
    versions: tuple[str, ...], data: Path | None, labels_folder: Path, baselines: bool, as_json: bool, models: Path
) -> None:
    """Measure versions, through the serving code, on a label file and on the behavioural suite.

    Without VERSIONS, the one that is served.

    \b
    paraframe evaluate --baselines
    paraframe evaluate 1.0.0 1.1.0 --data my-labels.jsonl
    """
    from . import card
    from .evaluation import evaluate_all

    registry = Registry(models)
    artifacts = [registry.read(version) for version in versions or [registry.current()]]
    rows = evaluate_all(artifacts, data or labels_folder / "test.jsonl", labels_folder, baselines=baselines)
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    click.echo(card.table(rows))
    for artifact in artifacts:
        click.echo(
            f"\n{artifact.version}\n\n{card.per_label(rows[artifact.version])}\n\n{card.evidence(rows[artifact.version])}"
        )
        if behaviour := rows[artifact.version]["behaviour"]:
            click.echo(f"\n{card.behaviour_table(behaviour)}")


@main.command()
@click.argument("version")
@MODELS
@handle_errors
def promote(version: str, models: Path) -> None:
    """Serve VERSION from now on; a running service changes to it without a restart. Tries it first."""
    registry = Registry(models)
    try_golden(Classifier(registry.read(version)))
    registry.promote(version)
    click.echo(f"{version} is served", err=True)


@main.command()
@MODELS
@handle_errors
def rollback(models: Path) -> None:
    """Serve again what was served before."""
    click.echo(f"{Registry(models).rollback()} is served again", err=True)


@main.command("models")
@MODELS
@handle_errors
def models_(models: Path) -> None:
    """List the versions side by side, with their recorded test metrics; * marks the one that is served."""
    _compare(Registry(models), [])


def _compare(registry: Registry, new: list[str]) -> None:
    from . import card

    try:
        current = registry.current()
    except (UnknownVersionError, ArtifactError):  # none, or a broken pointer
        current = None
    rows = {}
    for version in registry.versions():
        mark = " *" if version == current else " (new)" if version in new else ""
        try:
            rows[version + mark] = json.loads(registry.read(version).contents["metrics.json"])["test"]
        except ArtifactError as error:
            click.echo(f"{version} is refused: {error}", err=True)
    click.echo(card.table(rows))


@main.command()
@click.option("--host", help="Default: HOST, or 127.0.0.1.")
@click.option("--port", type=click.IntRange(0, 65535), help="Default: PORT, or 8000.")
@handle_errors
def serve(host: str | None, port: int | None) -> None:
    """Start the REST service (what `make run` does)."""
    chosen = {"HOST": host, "PORT": None if port is None else str(port)}
    environment = {**os.environ, **{key: value for key, value in chosen.items() if value is not None}}
    os.execve(sys.executable, [sys.executable, "-m", "service"], environment)  # noqa: S606 signals are then the service's own


if __name__ == "__main__":
    main()

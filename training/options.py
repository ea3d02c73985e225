"""What the commands share: where models and labels are, errors for a person, what is said where training tools are missing."""

import sys
from collections.abc import Callable
from functools import wraps
from importlib.util import find_spec
from pathlib import Path
from typing import ParamSpec, TypeVar

import click

from service.inference.errors import ParaframeError

P = ParamSpec("P")
R = TypeVar("R")

MODELS = click.option(
    "--models",
    type=click.Path(path_type=Path),
    default="models",
    show_default=True,
    envvar="MODELS_DIR",
    help="The folder of model versions.",
)
LABELS = click.option(
    "--labels",
    "labels_folder",
    type=click.Path(path_type=Path),
    default="labels",
    show_default=True,
    envvar="LABELS_DIR",
    help="The folder of label files.",
)


def handle_errors(command: Callable[P, R]) -> Callable[P, R]:
    """What Paraframe refuses becomes one line on stderr and exit status 2."""

    @wraps(command)
    def shell(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except ParaframeError as error:
            reason = str(error)
        except UnicodeDecodeError as error:
            reason = f"not UTF-8: {error}"
        except OSError as error:
            reason = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        click.echo(f"paraframe: {reason}", err=True)
        sys.exit(2)

    return shell


def needs_training_tools(command: Callable[P, R]) -> Callable[P, R]:
    """Says how to get them, where only what serving needs is installed."""

    @wraps(command)
    def shell(*args: P.args, **kwargs: P.kwargs) -> R:
        if any(find_spec(module) is None for module in ("torch", "transformers", "sklearn", "nltk")):
            click.echo("paraframe: this command needs the training tools: make setup-train", err=True)
            sys.exit(2)
        return command(*args, **kwargs)

    return shell

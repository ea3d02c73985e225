"""What the commands share: where models and labels are, errors for a person, what is said where training tools are missing."""

import sys
from collections.abc import Callable
from functools import wraps
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click

from service.inference.errors import ParaframeError

P = ParamSpec("P")
R = TypeVar("R")

Command = TypeVar("Command", bound=Callable[..., Any])


def folder_option(*names: str, default: str, envvar: str, help: str) -> Callable[[Command], Command]:
    """A folder that the service's setting `envvar` names too."""
    return click.option(
        *names, type=click.Path(path_type=Path), default=default, show_default=True, envvar=envvar, show_envvar=True, help=help
    )


MODELS = folder_option("--models", default="models", envvar="MODELS_DIR", help="The folder of model versions.")
LABELS = folder_option("--labels", "labels_folder", default="labels", envvar="LABELS_DIR", help="The folder of label files.")


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

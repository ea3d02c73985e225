"""The codebook as data: `labels/codebook.json`, what each label means and how to decide on it.

It drives the label names everywhere, travels in every artifact as a snapshot, and is what annotators are given.
"""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from .errors import CodebookError


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Case(_Strict):
    """A sentence, whether it carries the label, and why."""

    text: str
    carries: bool
    why: str


class Definition(_Strict):
    id: str = Field(pattern=r"^[a-z]+(_[a-z]+)*$")
    name: str
    letter: str = Field(pattern=r"^[A-Z]$", description="used in annotators' votes: upper case own, lower case reported")
    definition: str
    questions: tuple[str, ...] = Field(min_length=1, description="yes or no; a single yes is enough")
    not_this: tuple[str, ...] = Field(min_length=1)
    cases: tuple[Case, ...] = Field(min_length=4)
    caution: str


class Codebook(_Strict):
    version: str
    unit: str
    voice: dict[str, str]
    main: str
    several: str
    labels: tuple[Definition, ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _consistent(self) -> "Codebook":
        for what in ("id", "letter"):
            values = [getattr(label, what) for label in self.labels]
            if len(set(values)) != len(values):
                raise ValueError(f"two labels have the same {what}")
        for label in self.labels:
            if len({case.carries for case in label.cases}) < 2:
                raise ValueError(f"{label.id} needs examples and near misses")
        return self

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(label.id for label in self.labels)


def read_codebook(folder: Path) -> Codebook:
    """The codebook in a labels folder. Raises CodebookError."""
    path = folder / "codebook.json"
    try:
        return Codebook.model_validate_json(path.read_bytes())
    except OSError as error:
        raise CodebookError(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        reasons = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:5])
        raise CodebookError(f"{path}: {reasons}") from error

"""A model version on disk: one flat folder that describes itself and is refused if anything in it is amiss.

`manifest.json` names every other file with its size and sha256, so that the sha256 of the manifest stands for the
whole: it is the model's sha256 everywhere. Files are hashed from the very bytes that are then used. Nothing in the
folder is executable: OpenVINO IR, JSON, TOML and Markdown.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from .decide import DecisionRule
from .errors import ArtifactError

FORMAT = 1
MANIFEST = "manifest.json"
MODEL_XML, MODEL_BIN, TOKENIZER, CODEBOOK = "model.xml", "model.bin", "tokenizer.json", "codebook.json"
RECIPE, METRICS, GOLDEN, CARD = "recipe.toml", "metrics.json", "golden.json", "README.md"
FILES = (MODEL_XML, MODEL_BIN, TOKENIZER, CODEBOOK, RECIPE, METRICS, GOLDEN, CARD)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileEntry(_Strict):
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(ge=0, description="bytes")


class BaseModelEntry(_Strict):
    """The pretrained encoder that training began with."""

    name: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of its weights file")


class Manifest(_Strict):
    """What an artifact is. Labels are in the order of the network's outputs."""

    format: Literal[1]
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    version: str = Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+-]*$")
    language: str
    labels: tuple[str, ...] = Field(min_length=1)
    decision: DecisionRule
    base_model: BaseModelEntry
    teacher_sha256: str | None = Field(pattern=r"^[0-9a-f]{64}$", description="of the model that it was distilled from")
    label_files: dict[str, str] = Field(description="sha256 of each label file: trained on, calibrated on, measured on")
    seed: int
    files: dict[str, FileEntry]

    @model_validator(mode="after")
    def _decision_is_on_the_labels(self) -> Self:
        if sorted(self.decision.labels) != sorted(self.labels):
            raise ValueError("decision.labels are not the labels")
        classes = len(self.labels) + 1
        if [len(row) for row in self.decision.single_label] != [classes] * classes:
            raise ValueError(f"decision.single_label is not {classes} by {classes} numbers")
        return self


@dataclass(frozen=True, slots=True)
class Artifact:
    """A verified model version, in memory."""

    manifest: Manifest
    sha256: str
    contents: Mapping[str, bytes]

    @property
    def version(self) -> str:
        return self.manifest.version

    def json(self, name: str) -> Any:
        """What a JSON file says. Raises ArtifactError."""
        try:
            return json.loads(self.contents[name])
        except ValueError as error:
            raise ArtifactError(f"{name} of version {self.version} is not JSON: {error}") from error

    def without(self, *names: str) -> "Artifact":
        """The same, less files that nobody needs any more: the network is most of its memory."""
        return replace(self, contents={name: data for name, data in self.contents.items() if name not in names})


def read_artifact(folder: Path) -> Artifact:
    """Read and verify the version in `folder`. Raises ArtifactError, naming the file and what is wrong with it."""
    try:
        manifest_bytes = (folder / MANIFEST).read_bytes()
        present = {path.name for path in folder.iterdir()}
    except OSError as error:
        raise ArtifactError(f"{folder} is not a model version: {error.strerror or error}") from error
    try:
        manifest = Manifest.model_validate_json(manifest_bytes)
    except ValidationError as error:
        raise ArtifactError(f"{folder / MANIFEST} is not a manifest of format {FORMAT}: {_reasons(error)}") from error
    _check_names(folder, manifest, present)
    try:
        contents = {name: _read_verified(folder / name, entry) for name, entry in manifest.files.items()}
    except OSError as error:
        raise ArtifactError(f"{error.filename or folder} cannot be read: {error.strerror or error}") from error
    return Artifact(manifest, hashlib.sha256(manifest_bytes).hexdigest(), contents)


def write_manifest(folder: Path, manifest: Manifest) -> str:
    """Seal `folder` with the entries of all its files, in place of `manifest.files`. The model's sha256 comes back."""
    entries = {path.name: _entry(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST}
    sealed = manifest.model_copy(update={"files": entries})
    data = (sealed.model_dump_json(indent=2) + "\n").encode()
    (folder / MANIFEST).write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def _entry(path: Path) -> FileEntry:
    data = path.read_bytes()
    return FileEntry(sha256=hashlib.sha256(data).hexdigest(), size=len(data))


def _check_names(folder: Path, manifest: Manifest, present: set[str]) -> None:
    listed = set(manifest.files)
    for problem, names in (
        ("lacks", listed - present),
        ("holds what its manifest does not name:", present - listed - {MANIFEST}),
        ("has a manifest without", set(FILES) - listed),
        ("has a manifest that names what is no part of a model:", listed - set(FILES)),
    ):
        if names:
            raise ArtifactError(f"{folder} {problem} {', '.join(sorted(names))}")
    if manifest.version != folder.name:
        raise ArtifactError(f"{folder} holds version {manifest.version}: a version's folder bears its name")


def _read_verified(path: Path, entry: FileEntry) -> bytes:
    if path.is_symlink() or not path.is_file():
        raise ArtifactError(f"{path} is not a plain file")
    data = path.read_bytes()
    if len(data) != entry.size:
        raise ArtifactError(f"{path} has {len(data)} bytes, its manifest says {entry.size}")
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        raise ArtifactError(f"{path} was altered: its sha256 is not the manifest's")
    return data


def _reasons(error: ValidationError) -> str:
    return "; ".join(_reason(e["loc"], e["msg"]) for e in error.errors()[:3])


def _reason(location: tuple[int | str, ...], message: str) -> str:
    return f"{'.'.join(map(str, location)) or 'document'}: {message}"


def version_folders(models: Path) -> list[Path]:
    """The folders in `models` that look like versions, by name; hidden and half-written ones are none. Raises ArtifactError."""
    if not models.is_dir():
        return []
    try:
        return sorted(path for path in models.iterdir() if (path / MANIFEST).is_file() and path.name[0] != ".")
    except OSError as error:
        raise ArtifactError(f"{models} cannot be read: {error.strerror or error}") from error

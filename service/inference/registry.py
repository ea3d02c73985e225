"""The `models/` folder: a folder a version, and `current.json`, which says which of them is served.

A version appears by a rename, and the pointer changes by a rename, so that a reader sees the old or the new, whole.
"""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from .artifact import Artifact, read_artifact, version_folders
from .errors import ArtifactError, ParaframeError, UnknownVersionError

_POINTER = "current.json"
_NUMBERED = re.compile(r"\d+\.\d+\.\d+")


class Pointer(BaseModel):
    """`current` is served; `previous` were before it, latest last, and are what rollback returns to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    current: str
    previous: tuple[str, ...] = ()


class Registry:
    """Versions by name, and the one that is served. Holds no state: every call reads the folder."""

    def __init__(self, models: Path) -> None:
        self.models = models

    def versions(self) -> list[str]:
        return [folder.name for folder in version_folders(self.models)]

    def read(self, version: str) -> Artifact:
        """The verified artifact of `version`. Raises UnknownVersionError or ArtifactError."""
        if version not in self.versions():  # also keeps every other path out
            raise UnknownVersionError(f"there is no model version {version!r} in {self.models}")
        return read_artifact(self.models / version)

    def pointer(self) -> Pointer:
        path = self.models / _POINTER
        try:
            return Pointer.model_validate_json(path.read_bytes())
        except OSError as error:
            raise UnknownVersionError(f"no model is served: {path} is missing; promote a version first") from error
        except ValidationError as error:
            raise ArtifactError(f"{path} is not a pointer to a version") from error

    def current(self) -> str:
        """The version that is served. Raises UnknownVersionError if none was promoted."""
        return self.pointer().current

    def written(self) -> tuple[int, int]:
        """Changes whenever the pointer is written. Raises UnknownVersionError if there is none."""
        try:
            stat = (self.models / _POINTER).stat()
        except OSError as error:
            raise UnknownVersionError(f"no model is served: {self.models / _POINTER} is missing") from error
        return stat.st_mtime_ns, stat.st_ino

    def next_version(self) -> str:
        """The latest three-part version with its middle number raised, or 1.0.0."""
        numbers = [tuple(map(int, v.split("."))) for v in self.versions() if _NUMBERED.fullmatch(v)]
        if not numbers:
            return "1.0.0"
        major, minor, _ = max(numbers)
        return f"{major}.{minor + 1}.0"

    def promote(self, version: str) -> None:
        """Serve `version` from now on, after verifying it whole. The pointer is written even if it says so already.

        Raises UnknownVersionError, ArtifactError, or ParaframeError if the folder cannot be written.
        """
        self.read(version)
        try:
            before = self.pointer()
        except (UnknownVersionError, ArtifactError):  # none, or a broken one
            before = Pointer(current=version)
        earlier = before.previous if before.current == version else (*before.previous, before.current)
        self._point(Pointer(current=version, previous=earlier))

    def rollback(self) -> str:
        """Serve again what was served before and is still there; its name comes back."""
        pointer = self.pointer()
        present = set(self.versions())
        served = [version for version in pointer.previous if version in present]
        if not served:
            raise UnknownVersionError(f"there is nothing to roll back to: {pointer.current} is the first that is there")
        *earlier, last = served
        self.read(last)
        self._point(Pointer(current=last, previous=tuple(earlier)))
        return last

    @contextmanager
    def new_version(self, version: str) -> Iterator[Path]:
        """A hidden folder to write a version into; it appears, whole and on disk, when the block ends without error."""
        target = self.models / version
        if target.exists():
            raise ArtifactError(f"{target} exists already: a version is never changed")
        self.models.mkdir(parents=True, exist_ok=True)
        hidden = Path(tempfile.mkdtemp(prefix=".new-", dir=self.models))
        staging = hidden / version  # by its own name, so that it can be read and verified before it appears
        staging.mkdir()
        try:
            yield staging
            for path in staging.iterdir():
                _sync(path)
            staging.rename(target)
            _sync(self.models)
        finally:
            shutil.rmtree(hidden, ignore_errors=True)

    def _point(self, pointer: Pointer) -> None:
        staging = self.models / f".{_POINTER}-{os.getpid()}"
        try:
            staging.write_text(json.dumps(pointer.model_dump(), indent=2) + "\n", encoding="utf-8")
            _sync(staging)
            os.replace(staging, self.models / _POINTER)
            _sync(self.models)
        except OSError as error:
            raise ParaframeError(f"{self.models / _POINTER} cannot be written: {error.strerror or error}") from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

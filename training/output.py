"""The file that a batch run writes, which a killed run leaves so that the next one can go on.

Rows grow in `.NAME.part`. After each chunk `.NAME.part.json` tells how many bytes of it hold, how many inputs they stand
for, and by which model. A run of the same model over the same inputs keeps those bytes and passes over those inputs; any
other begins anew. What a paragraph gets does not depend on its batch, so the finished file is the same, byte for byte.
"""

import fcntl
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pydantic import BaseModel, ConfigDict, ValidationError

from .errors import OutputError
from .inputs import Document, Unreadable


class Checkpoint(BaseModel):
    """How far a run came: `bytes` of output for the first `inputs` of them, whose digest is `digest`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    run: str  # what the rows depend on beside the inputs: model and format
    bytes: int
    inputs: int
    digest: str
    documents: int
    paragraphs: int
    failures: tuple[tuple[str, str], ...]


class Digest:
    """Of the inputs read so far."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.inputs = 0

    def add(self, item: Document | Unreadable) -> None:
        fields = [item.id, item.text, item.extra] if isinstance(item, Document) else [item.origin]
        self._hash.update(json.dumps(fields).encode() + b"\n")
        self.inputs += 1

    def __str__(self) -> str:
        return self._hash.hexdigest()


class Output:
    """Where rows go. `saved` is what an earlier run left, if anything; without a file nothing is ever saved.

    `worthless`: set it, and the file stays as it was before.
    """

    def __init__(self, target: Path | None = None, part: BinaryIO | None = None) -> None:
        self.target = target
        self.worthless = False
        self._part = part
        self._pending: list[str] = []
        self.saved = self._read_checkpoint()

    def write(self, text: str) -> None:
        """Text goes to standard output at once, to a file with the next `save`."""
        if self._part is None:
            sys.stdout.write(text)
        else:
            self._pending.append(text)

    def resume(self) -> None:
        """Cut off what follows the saved rows."""
        if self.saved is not None and self._part is not None:
            self._part.truncate(self.saved.bytes)

    def restart(self) -> None:
        """Drop what an earlier run left."""
        self.saved = None
        if self._part is not None:
            self._checkpoint.unlink(missing_ok=True)
            self._part.truncate(0)

    def save(self, *, run: str, digest: Digest, documents: int, paragraphs: int, failures: list[Unreadable]) -> None:
        """Write the rows, then say that they hold: a checkpoint never promises more than there is. Raises OutputError."""
        if self._part is None or self.target is None:
            sys.stdout.flush()
            return
        with _writing(self.target):
            self.flush()
            checkpoint = Checkpoint(
                run=run,
                bytes=os.fstat(self._part.fileno()).st_size,
                inputs=digest.inputs,
                digest=str(digest),
                documents=documents,
                paragraphs=paragraphs,
                failures=tuple((f.origin, f.reason) for f in failures),
            )
            fresh = self._checkpoint.with_name(f"{self._checkpoint.name}.new")
            fresh.write_text(checkpoint.model_dump_json(), encoding="utf-8")
            fresh.replace(self._checkpoint)

    def flush(self) -> None:
        if self._part is not None:
            rest = "".join(self._pending).encode()
            self._pending.clear()
            while rest:
                rest = rest[self._part.write(rest) :]

    @property
    def _checkpoint(self) -> Path:
        return _checkpoint_of(self.target or Path())

    def _read_checkpoint(self) -> Checkpoint | None:
        if self._part is None:
            return None
        try:
            saved = Checkpoint.model_validate_json(self._checkpoint.read_bytes())
        except (OSError, ValidationError):
            return None
        return saved if saved.bytes <= os.fstat(self._part.fileno()).st_size else None


@contextmanager
def open_output(out: str) -> Iterator[Output]:
    """The file `out`, which appears when all is written; or standard output for `-`. Raises OutputError."""
    if out == "-":
        yield Output()
        return
    target = Path(out)
    if target.is_symlink():
        target = target.resolve()  # what is linked to is written, the link stays
    if target.exists() and not target.is_file():
        raise OutputError(f"{target} is no regular file (- stands for standard output)")
    part = _part_of(target)
    with _writing(target):
        file = part.open("a+b", buffering=0)
    with file:
        _lock(file, part)
        try:
            output = Output(target, file)
            yield output
            with _writing(target):
                output.flush()
                os.fsync(file.fileno())
                _checkpoint_of(target).unlink(missing_ok=True)
                if output.worthless:
                    part.unlink()
                else:
                    part.replace(target)
        except BaseException:
            if not _checkpoint_of(target).exists():  # nothing to go on from
                part.unlink(missing_ok=True)
            raise


def _part_of(target: Path) -> Path:
    return target.with_name(f".{target.name}.part")


def _checkpoint_of(target: Path) -> Path:
    return target.with_name(f".{target.name}.part.json")


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {error.strerror}") from error


def _lock(file: BinaryIO, part: Path) -> None:
    """Keep other runs off this file; the lock goes with the process, however that ends."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if part.stat().st_ino == os.fstat(file.fileno()).st_ino:
            return
    except (BlockingIOError, FileNotFoundError):
        pass
    raise OutputError(f"another run is writing {part}")

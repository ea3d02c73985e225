"""The file that a batch run writes, which a killed run leaves so that the next one can go on.

Rows grow in `.NAME.part`. After each chunk `.NAME.part.json` tells how many bytes of it hold, how many inputs they stand
for, and by which model. A run of the same model over the same inputs keeps those bytes and passes over those inputs; any
other begins anew. What a paragraph gets does not depend on its batch, so the finished file is the same, byte for byte.
"""

import fcntl
import hashlib
import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO

from pydantic import BaseModel, ConfigDict, ValidationError

from .errors import OutputError
from .inputs import Document, Unreadable

_HEAD_BYTES = 1 << 16  # more than the names of the columns take


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
    """Where rows go. `saved` is what an earlier run left, if anything; without a file nothing is ever saved."""

    def __init__(self, text: TextIO, part: BinaryIO | None = None, checkpoint: Path | None = None) -> None:
        self.text = text
        self._part = part
        self._checkpoint = checkpoint
        self.saved = self._read_checkpoint()

    def resume(self) -> None:
        """Cut off what follows the saved rows."""
        if self.saved is not None and self._part is not None:
            self._part.truncate(self.saved.bytes)

    def restart(self) -> None:
        """Drop what an earlier run left."""
        self.saved = None
        if self._part is not None and self._checkpoint is not None:
            self._checkpoint.unlink(missing_ok=True)
            self._part.truncate(0)

    def head(self) -> str:
        """The beginning of what is saved; nothing if nothing is."""
        if self._part is None:
            return ""
        self._part.seek(0)
        return self._part.read(_HEAD_BYTES).decode("utf-8-sig", errors="ignore")

    def save(self, *, run: str, digest: Digest, documents: int, paragraphs: int, failures: list[Unreadable]) -> None:
        """Flush the rows, then say that they hold. In this order: a checkpoint never promises more than there is."""
        self.text.flush()
        if self._part is None or self._checkpoint is None:
            return
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

    def _read_checkpoint(self) -> Checkpoint | None:
        if self._part is None or self._checkpoint is None:
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
        yield Output(sys.stdout)
        return
    target = Path(out)
    part = target.with_name(f".{target.name}.part")
    checkpoint = part.with_name(f"{part.name}.json")
    try:
        with part.open("a+b") as file:
            _lock(file, part)
            with io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=False) as text:
                yield Output(text, file, checkpoint)
                text.flush()
                os.fsync(file.fileno())
                part.replace(target)
                checkpoint.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {error.strerror}") from error
    finally:
        if not checkpoint.exists():  # nothing to go on from
            part.unlink(missing_ok=True)


def _lock(file: BinaryIO, part: Path) -> None:
    """Keep other runs off this file; the lock goes with the process, however that ends."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if part.stat().st_ino == os.fstat(file.fileno()).st_ino:
            return
    except (BlockingIOError, FileNotFoundError):
        pass
    raise OutputError(f"another run is writing {part}")

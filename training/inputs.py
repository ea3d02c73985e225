"""Files and folders to documents: `.txt`, `.md`, `.jsonl`, `.jsonl.gz`. What cannot be read is named, and passed over."""

import gzip
import json
import os
import stat
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TEXT_SUFFIXES = (".txt", ".md")
LINE_SUFFIXES = (".jsonl", ".jsonl.gz")
# One document. Past this a file is something else than a text to label, such as a log or a dump.
MAX_BYTES = 20_000_000


@dataclass(frozen=True, slots=True)
class Document:
    """A text, its id, where it came from (`file` or `file:line`), and the input's other fields."""

    id: str
    text: str
    origin: str
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An input that holds no document, and why."""

    origin: str
    reason: str


def find_files(inputs: Iterable[Path]) -> Iterator[Path | Unreadable]:
    """The files among `inputs`; folders are searched, in order of names, for the endings that are known.

    A file given by name is taken whatever its ending: as JSON lines, or else as one text.
    """
    for path in inputs:
        if path.is_dir():
            for folder, folders, names in os.walk(path):  # does not follow links to folders, so it ends
                folders.sort()
                yield from (Path(folder, name) for name in sorted(names) if name.endswith(TEXT_SUFFIXES + LINE_SUFFIXES))
        else:
            yield path


def read_documents(path: Path, *, encoding: str) -> Iterator[Document | Unreadable]:
    """The documents of one file."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            yield Unreadable(str(path), "not a regular file")
        elif path.name.endswith(LINE_SUFFIXES):
            yield from _read_lines(path)
        else:
            yield _read_text(path, encoding)
    except (OSError, EOFError, zlib.error) as error:
        yield Unreadable(str(path), f"cannot be read: {getattr(error, 'strerror', None) or error}")


def _read_text(path: Path, encoding: str) -> Document | Unreadable:
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        return Unreadable(str(path), f"longer than {MAX_BYTES} bytes")
    try:
        text = data.decode(_by_mark(data) or encoding)
    except (UnicodeDecodeError, LookupError) as error:
        return Unreadable(str(path), f"not {encoding} text ({error}); --encoding names another")
    return Document(path.name, text.removeprefix("\ufeff"), str(path))


def _by_mark(data: bytes) -> str | None:
    return "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else None


def _read_lines(path: Path) -> Iterator[Document | Unreadable]:
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as lines:
        number = 0
        while line := lines.readline(MAX_BYTES + 1):
            number += 1
            origin = f"{path}:{number}"
            if len(line) > MAX_BYTES:
                yield Unreadable(origin, f"longer than {MAX_BYTES} bytes; the rest of the file is passed over")
                return
            if line.strip():
                yield _parse(line, origin)


def _parse(line: bytes, origin: str) -> Document | Unreadable:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Unreadable(origin, f"broken JSON: {error}")
    if not isinstance(record, dict) or not isinstance(record.get("text"), str):
        return Unreadable(origin, "no object with a `text`")
    extra = {key: value for key, value in record.items() if key not in ("text", "id")}
    return Document(str(record.get("id", origin)), record["text"], origin, extra)

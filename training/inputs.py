"""Files and folders to documents: `.txt`, `.md`, `.jsonl`, `.jsonl.gz`. What cannot be read is named, and passed over."""

import codecs
import gzip
import json
import os
import stat
import zlib
from collections.abc import Iterator, Sequence
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


def read_inputs(inputs: Sequence[Path], *, encoding: str, without: Path | None = None) -> Iterator[Document | Unreadable]:
    """The documents of files and folders, in order; folders are searched, by names, for the endings that are known.

    A file given by name is taken whatever its ending: as JSON lines, or else as one text. A text's id is its name, or its path
    below the one folder given; of several inputs, its path. `without`: a file that folders may hold and that is no input.
    """
    alone = len(inputs) == 1
    for path in inputs:
        try:
            inside = path.is_dir()
        except OSError as error:
            yield _unreadable(path, error)
            continue
        if inside:
            for found in _files(path):
                if isinstance(found, Unreadable):
                    yield found
                elif without is None or not _same(found, without):
                    yield from _read_file(found, str(found.relative_to(path) if alone else found), encoding)
        else:
            yield from _read_file(path, path.name if alone else str(path), encoding)


def _files(top: Path) -> Iterator[Path | Unreadable]:
    closed: list[OSError] = []
    for folder, folders, names in os.walk(top, onerror=closed.append):  # does not follow links to folders, so it ends
        folders.sort()
        for name in sorted(names):
            if name.endswith(TEXT_SUFFIXES + LINE_SUFFIXES):
                yield Path(folder, name)
    yield from (_unreadable(Path(error.filename), error) for error in closed)


def _same(path: Path, other: Path) -> bool:
    return path.name == other.name and path.resolve() == other.resolve()


def _unreadable(path: Path, error: OSError | EOFError | zlib.error) -> Unreadable:
    return Unreadable(_printable(path), f"cannot be read: {getattr(error, 'strerror', None) or error}")


def _printable(name: Path | str) -> str:
    """A name of any bytes as text that can be written."""
    return str(name).encode("utf-8", "backslashreplace").decode()


def _read_file(path: Path, name: str, encoding: str) -> Iterator[Document | Unreadable]:
    """The documents of one file; a text's id is `name`."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            yield Unreadable(_printable(path), "not a regular file")
        elif path.name.endswith(LINE_SUFFIXES):
            yield from _read_lines(path)
        else:
            yield _read_text(path, _printable(name), encoding)
    except (OSError, EOFError, zlib.error) as error:
        yield _unreadable(path, error)


def _read_text(path: Path, name: str, encoding: str) -> Document | Unreadable:
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        return Unreadable(_printable(path), f"longer than {MAX_BYTES} bytes")
    try:
        text = data.decode(_by_mark(data) or encoding)
    except (UnicodeDecodeError, LookupError) as error:
        return Unreadable(_printable(path), f"not {encoding} text ({error}); --encoding names another")
    return Document(name, text, _printable(path))


def _by_mark(data: bytes) -> str | None:
    if data.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    return "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else None


def _read_lines(path: Path) -> Iterator[Document | Unreadable]:
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as lines:
        number = 0
        while line := lines.readline(MAX_BYTES + 1):
            number += 1
            origin = f"{_printable(path)}:{number}"
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
    try:
        line.decode()
        json.dumps(record, ensure_ascii=False).encode()
    except UnicodeError as error:
        return Unreadable(origin, f"not valid Unicode: {error}")
    extra = {key: value for key, value in record.items() if key not in ("text", "id")}
    identity = record.get("id")
    return Document(origin if identity is None else str(identity), record["text"], origin, extra)

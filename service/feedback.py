"""Labels that people give over HTTP: appended to a label file that the next training run reads.

An example is acknowledged when its line is on disk. A line that a crash left half-written was never acknowledged, and
is cut off when the file is next opened; a whole one that only lacks its line break, as some editors leave it, stays.
"""

import errno
import fcntl
import json
import logging
import os
import threading
import uuid
from pathlib import Path
from typing import Any

from .errors import ApiError

_logger = logging.getLogger("paraframe.feedback")


class FeedbackStore:
    """`<labels>/feedback/feedback.jsonl`. Safe from several threads and processes."""

    def __init__(self, labels_folder: Path) -> None:
        self.path = labels_folder / "feedback" / "feedback.jsonl"
        self._lock = threading.Lock()

    def append(self, example: dict[str, Any]) -> str:
        """Store one example; its new id comes back. Raises ApiError if the disk refuses."""
        identity = f"feedback-{uuid.uuid4().hex}"
        line = (json.dumps({"id": identity, **example}, ensure_ascii=False) + "\n").encode()
        try:
            with self._lock:
                self._write(line)
        except OSError as error:
            _logger.error("a label was not stored: %s", error)  # noqa: TRY400 no trace wanted
            raise ApiError(503, "storage_unavailable", "the label was not stored; the log says why", retry_after=30) from error
        return identity

    def _write(self, line: bytes) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644), "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            end = _end_of_last_line(file.fileno())
            if _is_json(os.pread(file.fileno(), os.fstat(file.fileno()).st_size - end, end)):
                end = os.fstat(file.fileno()).st_size
                line = b"\n" + line
            try:
                os.ftruncate(file.fileno(), end)
                _write_all(file.fileno(), line, end)
                os.fsync(file.fileno())
            except OSError:
                os.ftruncate(file.fileno(), end)
                raise


def _write_all(descriptor: int, data: bytes, at: int) -> None:
    """A disk that is nearly full takes a part and says so only by the count."""
    if os.pwrite(descriptor, data, at) < len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _is_json(line: bytes) -> bool:
    """Of an object, no part is: it ends with its brace."""
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _end_of_last_line(descriptor: int) -> int:
    """The size of the file without what follows its last line break."""
    end = os.fstat(descriptor).st_size
    while end:
        start = max(0, end - 65536)
        at = os.pread(descriptor, end - start, start).rfind(b"\n")
        if at >= 0:
            return start + at + 1
        end = start
    return 0

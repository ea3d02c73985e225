"""API keys: a file of lines `name scopes sha256`, read again whenever it changes. Secrets are never stored.

    python -m service.keys NAME SCOPE[,SCOPE] >> keys.txt     prints the key on stderr, once

Scopes: `read` (classify, look at models), `label` (feedback), `admin` (change the model). Removing a line ends a key. While the
file has a line that is no key, the keys that were read before hold.
"""

import hashlib
import hmac
import logging
import re
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

Scope = Literal["read", "label", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

_logger = logging.getLogger("paraframe.keys")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class KeyFileError(Exception):
    """The key file has a line that is no key; names file and line."""


@dataclass(frozen=True, slots=True)
class Key:
    name: str
    scopes: frozenset[str]
    digest: str


class KeyFile:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._complaint = ""
        self._keys: list[Key] = []
        self._read()

    def find(self, secret: str) -> Key | None:
        """The key with this secret; compares with each in constant time. Raises KeyFileError if the file is gone."""
        try:
            self._read()
            self._complaint = ""
        except KeyFileError as error:
            self._log_once(str(error))
            if not self._keys:
                raise
        digest = hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
        matches = [key for key in self._keys if hmac.compare_digest(key.digest, digest)]
        return matches[0] if matches else None

    def _log_once(self, reason: str) -> None:
        if reason != self._complaint:
            self._complaint = reason
            _logger.error("%s: %s", "keeping the keys as they were" if self._keys else "no key is known", reason)

    def _read(self) -> None:
        """Raises KeyFileError; then the keys stay as they were, but none is left if the file is gone."""
        try:
            stat = self._path.stat()
            stamp = (stat.st_mtime_ns, stat.st_size)
            if stamp != self._stamp:
                self._keys = [_parse(line, f"{self._path}:{n}") for n, line in _lines(self._path)]
                self._stamp = stamp
        except OSError as error:
            self._keys, self._stamp = [], None  # a file that is gone ends every key
            raise KeyFileError(f"{self._path} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise KeyFileError(f"{self._path} is not UTF-8 text") from error


def _lines(path: Path) -> list[tuple[int, str]]:
    numbered = enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
    return [(n, line) for n, line in numbered if line.strip() and not line.startswith("#")]


def _parse(line: str, where: str) -> Key:
    parts = line.split()
    if len(parts) != 3 or not _DIGEST.fullmatch(parts[2].lower()):
        raise KeyFileError(f"{where}: `name scopes sha256` was expected")
    scopes = frozenset(parts[1].split(","))
    if strangers := scopes - set(SCOPES):
        raise KeyFileError(f"{where}: unknown scope {', '.join(sorted(strangers))}; there are {', '.join(SCOPES)}")
    return Key(parts[0], scopes, parts[2].lower())


def main(arguments: list[str]) -> int:
    if len(arguments) != 2 or not set(arguments[1].split(",")) <= set(SCOPES) or arguments[0].split() != [arguments[0]]:
        sys.stderr.write(f"usage: python -m service.keys NAME SCOPE[,SCOPE] >> keys.txt   (scopes: {', '.join(SCOPES)})\n")
        return 2
    name, scopes = arguments
    secret = secrets.token_urlsafe(32)
    sys.stderr.write(f"{secret}\n")
    sys.stdout.write(f"{name} {scopes} {hashlib.sha256(secret.encode()).hexdigest()}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

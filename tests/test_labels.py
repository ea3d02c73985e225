"""Label files: what is wrong is named by file and line, and what is written is read again."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.agreement import agreement
from training.behaviour import read_pairs
from training.checks import check
from training.codebook import read_codebook
from training.errors import CodebookError, LabelError, RecipeError
from training.labels import Example, LabelSet, paragraphs, read_file, read_labels, record, write_file
from training.recipe import read_recipe

ROOT = Path(__file__).parent.parent
CODEBOOK = read_codebook(ROOT / "labels")
LABELS = CODEBOOK.ids

some_labels = st.lists(st.sampled_from(LABELS), unique=True).map(tuple)
examples = st.builds(
    Example,
    text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip),
    labels=some_labels,
    id=st.text("abc123", min_size=1),
    doc_id=st.text("abc123", min_size=1),
    paragraph=st.integers(0, 50),
    position=st.integers(0, 500),
    genre=st.text(),
    kind=st.sampled_from(["natural", "pointed", "own"]),
)


@given(st.lists(examples, unique_by=lambda e: e.id))
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, given_examples: list[Example]) -> None:
    path = tmp_path_factory.mktemp("labels") / "some.jsonl"
    write_file(path, given_examples)
    assert [example for _, example in read_file(path, labels=LABELS)] == given_examples


def test_text_and_labels_are_enough(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"text": "A.", "labels": ["speculation"], "my_field": 1}\n\n{"text": "B.", "labels": ["none"]}\n')
    first, second = (example for _, example in read_file(path, labels=LABELS))
    assert (first.id, first.doc_id, first.labels) == ("mine-1", "mine-1", ("speculation",))
    assert (second.id, second.labels) == ("mine-3", ())


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"text": "A."', "broken JSON"),
        ("[1]", "object"),
        ('{"labels": []}', "text: Field required"),
        ('{"text": "A."}', "labels: Field required"),
        ('{"text": " ", "labels": []}', "blank"),
        ('{"text": "A.", "labels": ["villain"]}', "unknown label 'villain'"),
        ('{"text": "A.", "labels": ["none", "speculation"]}', "`none` stands with other labels"),
        ('{"text": "A.", "labels": ["speculation", "speculation"]}', "given twice"),
        ('{"text": "A.", "labels": [], "voice": {"speculation": "own"}}', "not among the labels"),
        ('{"text": "A.", "labels": ["speculation"], "voice": {"speculation": "loud"}}', "voice"),
        ('{"text": "A.", "labels": "speculation"}', "labels"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, reason: str) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(f'{{"text": "Good.", "labels": []}}\n{line}\n')
    with pytest.raises(LabelError, match=rf"mine\.jsonl:2: .*{reason}"):
        list(read_file(path, labels=LABELS))


def test_a_duplicate_id_is_named_with_both_places(tmp_path: Path) -> None:
    for split in ("train", "validation", "test"):
        (tmp_path / f"{split}.jsonl").write_text('{"id": "x", "text": "A.", "labels": []}\n')
    with pytest.raises(LabelError, match=r"validation\.jsonl:1: id 'x' was used at .*train\.jsonl:1"):
        read_labels(tmp_path, labels=LABELS)


def test_own_files_and_feedback_join_the_training_split(tiny_labels: Path, tmp_path: Path) -> None:
    before = read_labels(tiny_labels, labels=LABELS)
    for source in tiny_labels.iterdir():
        (tmp_path / source.name).write_bytes(source.read_bytes())
    for name in ("own", "feedback"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.jsonl").write_text('{"text": "A new one.", "labels": ["speculation"]}\n')
    after = read_labels(tmp_path, labels=LABELS)
    assert len(after.examples["train"]) == len(before.examples["train"]) + 2
    assert after.examples["test"] == before.examples["test"]
    assert {"own/own.jsonl", "feedback/feedback.jsonl"} <= set(after.digests)


def test_sentences_are_put_together_in_order() -> None:
    rows = [
        Example(text=t, labels=(), doc_id="d", paragraph=p, position=i)
        for t, p, i in [("B.", 0, 1), ("A.", 0, 0), ("C.", 1, 2)]
    ]
    assert [p.text for p in paragraphs(rows)] == ["A. B.", "C."]


def label_set(train: list[Example], test: list[Example]) -> LabelSet:
    return LabelSet({"train": train, "validation": [], "test": test}, {})


def natural(text: str, doc_id: str, *labels: str, position: int = 0) -> Example:
    return Example(id=f"{doc_id}-{position}", doc_id=doc_id, position=position, text=text, labels=labels, kind="natural")


LONG = "The minister of rail said that the new line to the coast would open in the autumn of next year."


@pytest.mark.parametrize(
    ("train", "test", "kind"),
    [
        ([natural(LONG, "a"), natural(LONG, "b")], [], "duplicate"),
        ([natural(LONG, "a"), natural(LONG, "b", "speculation")], [], "conflict"),
        ([natural(LONG, "a")], [natural(LONG, "b", "speculation")], "leak"),
        ([natural(LONG, "a")], [natural(LONG.replace("autumn", "spring"), "b")], "near duplicate"),
        ([natural("One.", "a")], [natural("Two.", "a", position=1)], "leak"),
        ([natural("One.", "a"), natural("Two.", "a")], [], "position"),
        ([], [natural("One.", "a").model_copy(update={"kind": "pointed"})], "measure"),
        ([natural("One.", "a").model_copy(update={"main": "speculation"})], [], "main"),
    ],
)
def test_each_fault_of_a_label_set_is_found(train: list[Example], test: list[Example], kind: str) -> None:
    assert kind in {finding.kind for finding in check(label_set(train, test))}


def test_a_clean_set_has_no_findings() -> None:
    assert check(label_set([natural(LONG, "a", "speculation")], [natural("Nothing of the kind was heard in town.", "b")])) == []


def test_agreement_against_a_worked_example() -> None:
    """Two coders, ten units, one disagreement: alpha is 1 - (n - 1) * o / (2 * n0 * n1), Krippendorff 2011."""
    votes = [(["H"], ["H"])] * 4 + [(["H"], [])] + [([], [])] * 5
    coded = [Example(id=str(i), text="x", labels=(), annotators={"a1": a, "a2": b}) for i, (a, b) in enumerate(votes)]
    table = agreement(coded, CODEBOOK)
    assert table["hero_framing"].alpha == pytest.approx(1 - 19 * 2 / (2 * 9 * 11))
    assert table["hero_framing"].f1 == pytest.approx(8 / 9)


def test_codebook_and_recipe_errors_are_sentences(tmp_path: Path) -> None:
    (tmp_path / "codebook.json").write_text(json.dumps(json.loads((ROOT / "labels/codebook.json").read_text()) | {"x": 1}))
    with pytest.raises(CodebookError, match="x: Extra inputs"):
        read_codebook(tmp_path)
    codebook = json.loads((ROOT / "labels/codebook.json").read_text())
    (tmp_path / "codebook.json").write_text(json.dumps(codebook | {"labels": codebook["labels"][:1]}))
    with pytest.raises(CodebookError, match="labels: Tuple should have at least 2"):
        read_codebook(tmp_path)
    (tmp_path / "r.toml").write_text((ROOT / "training/recipes/small.toml").read_text() + "epoch = 3\n")
    with pytest.raises(RecipeError, match="epoch: Extra inputs"):
        read_recipe(str(tmp_path / "r.toml"))
    with pytest.raises(RecipeError, match="the project has .*small"):
        read_recipe("huge")


def test_a_recipe_reads_as_it_was_written(tmp_path: Path) -> None:
    recipe = read_recipe("small", base_model='other/"model"')
    assert recipe.base_model == 'other/"model"'
    (tmp_path / "again.toml").write_text(recipe.toml())
    assert read_recipe(str(tmp_path / "again.toml")) == recipe


def test_a_flip_says_what_changes(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text(
        json.dumps({"id": "1", "kind": "flip", "change": "c", "a": "x", "b": "y\u2028"}) + "\n"
    )
    with pytest.raises(LabelError, match=r"pairs.jsonl:1: .*`label` and `expect`"):
        read_pairs(tmp_path / "pairs.jsonl")


def test_the_adjudicator_is_no_blind_coder() -> None:
    """Of two units the coders differ on one, which a third, who knew, decided with a reason."""
    votes = [{"a1": ["H"], "a2": ["H"]}, {"a1": ["H"], "a2": [], "a3": ["H"]}]
    coded = [Example(id=str(i), text="x", labels=(), annotators=v, reason="r" * (len(v) - 2)) for i, v in enumerate(votes)]
    assert agreement(coded, CODEBOOK)["hero_framing"].f1 == pytest.approx(2 / 3)


def test_voices_are_compared_where_coders_agree_on_the_label() -> None:
    votes = [{"a1": ["H"], "a2": ["h"]}, {"a1": ["e"], "a2": ["e"]}, {"a1": ["S"], "a2": []}]
    voice = agreement([Example(id=str(i), text="x", labels=(), annotators=v) for i, v in enumerate(votes)], CODEBOOK)["voice"]
    assert (voice.f1, voice.units) == (0.5, 2)


def test_a_record_leaves_out_what_is_default() -> None:
    assert record(Example(text="A.", labels=(), id="i")) == {"id": "i", "text": "A.", "labels": []}

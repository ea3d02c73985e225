"""Paragraphs and sentences: nothing is lost, offsets are exact, and texts of all makes are parted as a reader would."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.inference.text import join, split_paragraphs

from .conftest import ROOT

WRAPPED = """\
The delegation left the capital late on Monday evening after a day
of talks that both sides called useful, and it is expected to reach
the border town of Orlo before noon.
   A second round is planned for the spring. The minister, who spoke
to reporters at the airport, gave no date and took no questions from
them.
"""


def paragraphs(text: str) -> list[str]:
    return [text[p.start : p.end] for p in split_paragraphs(text)]


def sentences(text: str) -> list[list[str]]:
    return [[text[s.start : s.end] for s in p.sentences] for p in split_paragraphs(text)]


texts = st.text(
    st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from(list("\n\r\t .!?\"”'—Aa\u2028\u00a0\u200b")))
)


# With runs about the length from which a run without white space is a sentence by itself.
long_texts = st.lists(st.sampled_from(["!" * 999, "?)" * 600, "x" * 1000, " ", "\n", "\n\n", "Yes. ", "no"]), max_size=8).map(
    "".join
)


@given(texts | long_texts)
def test_every_character_is_in_a_sentence_or_is_white_space(text: str) -> None:
    covered = [False] * len(text)
    last = 0
    for paragraph in split_paragraphs(text):
        assert last <= paragraph.start < paragraph.end
        inner = paragraph.start
        for sentence in paragraph.sentences:
            assert inner <= sentence.start < sentence.end <= paragraph.end
            assert text[sentence.start : sentence.end].strip() == text[sentence.start : sentence.end]
            covered[sentence.start : sentence.end] = [True] * (sentence.end - sentence.start)
            inner = sentence.end
        last = paragraph.end
    assert all(in_sentence or character.isspace() for in_sentence, character in zip(covered, text, strict=True))


@given(st.lists(st.from_regex(r"[A-Z][a-z ]{0,40}[a-z]\.", fullmatch=True), min_size=1, max_size=5))
def test_joined_sentences_lie_where_it_is_said(given_sentences: list[str]) -> None:
    text, span = join(given_sentences)
    assert [text[s.start : s.end] for s in span.sentences] == given_sentences
    assert (span.start, span.end) == (0, len(text))


def test_blank_lines_part_paragraphs() -> None:
    assert paragraphs("One.\n\nTwo,\nstill two.\n \t\nThree.") == ["One.", "Two,\nstill two.", "Three."]


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r", "\u2028"])
def test_without_blank_lines_line_breaks_part_paragraphs(line_break: str) -> None:
    assert paragraphs(f"One.{line_break}Two.{line_break}") == ["One.", "Two."]


def test_hard_wrapped_text_is_joined_and_parted_at_indents() -> None:
    first, second = paragraphs(WRAPPED)
    assert first.endswith("before noon.")
    assert second.startswith("A second round")
    assert [len(s) for s in sentences(WRAPPED)] == [1, 2]


def test_hard_wrapped_text_with_blank_lines_keeps_sentences_whole() -> None:
    text = WRAPPED.replace("   A second", "\nA second")
    assert [len(s) for s in sentences(text)] == [1, 2]


def test_a_headline_is_a_sentence_of_its_own() -> None:
    assert sentences("Minister resigns\nShe gave no reason.\n\nNext.")[0] == ["Minister resigns", "She gave no reason."]


def test_abbreviations_and_quotes_do_not_end_sentences() -> None:
    text = 'Gen. A. B. Orlo of the U.S. Army arrived at 5 p.m. on Monday. "We won," he said.'
    assert len(sentences(text)[0]) == 2


def test_what_has_no_white_space_for_long_is_a_sentence_by_itself() -> None:
    run = "a.?)" * 300
    assert sentences(f"He left. She {run} stayed. They ate.") == [["He left.", "She", run, "stayed.", "They ate."]]


@pytest.mark.parametrize("unit", ["!", "?)", "a.", "!" * 999 + " ", ". ", "x" + " " * 9999, "x\n"])
def test_a_million_characters_of_anything_take_no_quadratic_time(unit: str) -> None:
    """Seconds at most, where quadratic time would be many minutes: in a process that can be given up."""
    code = f"from service.inference.text import split_paragraphs as s; assert s({unit!r} * (10**6 // {len(unit)}))"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60, check=True)


def test_a_long_last_line_does_not_part_the_full_lines_of_a_hard_wrapped_text() -> None:
    lines = [
        "The delegation left the capital late on Monday evening after a day",
        "of talks that both sides called useful. No paper had been signed.",
        "It is expected to reach the border town of Orlo before noon, and a",
        "second round is planned for the spring, as can be read in full at:",
        "https://example.org/" + "talks/" * 20,
    ]
    assert len(paragraphs("\n".join(lines))) == 1


def test_offsets_count_code_points() -> None:
    text = "😀 Ünïcode. 한국어 문장.\n\n“Second.”"
    assert paragraphs(text) == ["😀 Ünïcode. 한국어 문장.", "“Second.”"]


@pytest.mark.parametrize("text", ["", " ", "\n\n\t\u2003\n"])
def test_blank_text_has_no_paragraphs(text: str) -> None:
    assert split_paragraphs(text) == []


def test_zero_width_characters_are_no_white_space_and_are_kept() -> None:
    assert paragraphs("\u200b\n\nText.") == ["\u200b", "Text."]

"""Golden texts: a version carries some with the labels that it gave them, and is tried on them before it serves."""

from pydantic import BaseModel, TypeAdapter, ValidationError

from .artifact import GOLDEN
from .classifier import Classifier
from .errors import ArtifactError, EncoderError, InputError


class _Golden(BaseModel):
    text: str
    labels: list[str]


_CASES = TypeAdapter(list[_Golden])


def try_golden(classifier: Classifier) -> None:
    """Label the artifact's golden texts, which also warms up. Raises ArtifactError if that fails or any label differs."""
    version = classifier.artifact.version
    try:
        golden = _CASES.validate_json(classifier.artifact.contents[GOLDEN])
        results = classifier.classify_many(case.text for case in golden)
    except ValidationError as error:
        raise ArtifactError(f"{GOLDEN} of version {version} is no list of texts with labels") from error
    except (EncoderError, InputError) as error:
        raise ArtifactError(f"version {version} cannot label its golden texts: {error}") from error
    for case, paragraphs in zip(golden, results, strict=True):
        found = list(paragraphs[0].decision.labels)
        if found != case.labels:
            raise ArtifactError(f"version {version} gives {found} to a golden text that has {case.labels}")

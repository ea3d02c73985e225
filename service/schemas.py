"""What travels over HTTP, with its limits."""

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from .inference.decide import Voice
from .settings import MOST_DOCUMENTS, MOST_TEXT_CHARS

Probability = Annotated[float, Field(ge=0, le=1)]
# The longest text is a setting, so the route checks it; this bound is what no setting exceeds.
Text = Annotated[str, StringConstraints(max_length=MOST_TEXT_CHARS)]
ShortText = Annotated[str, StringConstraints(max_length=1000)]


def _finite(value: dict[str, Any]) -> dict[str, Any]:
    """A number too large for a float cannot come back as it was sent. Raises ValueError."""
    json.dumps(value, allow_nan=False)
    return value


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class ClassifyRequest(_In):
    text: Text = Field(description="The document, as it is: offsets in the answer count its Unicode code points.")
    id: ShortText | None = None
    source: ShortText | None = None
    date: ShortText | None = None
    metadata: Annotated[dict[str, Any], AfterValidator(_finite)] = Field({}, description="Comes back as it was sent.")


class BatchRequest(_In):
    documents: list[Any] = Field(min_length=1, max_length=MOST_DOCUMENTS, description="Requests as for `/v1/classify`.")


class FeedbackRequest(_In):
    """A person's labels for a text, usually a paragraph or sentence. They join the next training run."""

    text: Text
    labels: list[ShortText] = Field(max_length=20, description="Framings that the text carries; empty for none.")
    voice: dict[ShortText, Voice] = {}
    annotator: ShortText | None = None
    source: ShortText | None = None


class ModelRef(BaseModel):
    name: str
    version: str
    sha256: str


class LanguageOut(BaseModel):
    code: str = Field(description="ISO 639-1, or `und` if there is too little text to tell.")
    supported: bool


class EvidenceOut(BaseModel):
    start: int
    end: int
    text: str
    label: str
    score: Probability
    voice: Voice


class ParagraphOut(BaseModel):
    index: int
    start: int
    end: int
    text: str
    label: str
    confidence: Probability
    unsure: bool
    labels: list[str]
    voice: dict[str, Voice]
    scores: dict[str, Probability]
    evidence: list[EvidenceOut]
    truncated: bool = Field(description="Whether any of the paragraph was left unread. Long ones are windowed, so never.")


class SummaryOut(BaseModel):
    paragraphs: int
    counts: dict[str, int] = Field(description="Paragraphs that carry each label, and those that carry none.")


class WarningOut(BaseModel):
    code: str
    message: str
    paragraphs: list[int] = Field(description="Indices of the paragraphs concerned; empty if it is the document.")


class ClassifyResponse(BaseModel):
    id: str | None
    source: str | None
    date: str | None
    metadata: dict[str, Any]
    model: ModelRef
    language: LanguageOut
    paragraphs: list[ParagraphOut]
    summary: SummaryOut
    warnings: list[WarningOut]


class ErrorBody(BaseModel):
    code: str
    message: str
    details: list[dict[str, Any]]


class ErrorResponse(BaseModel):
    error: ErrorBody


class BatchResponse(BaseModel):
    results: list[ClassifyResponse | ErrorResponse] = Field(description="In the order of the documents.")


class FeedbackResponse(BaseModel):
    id: str
    stored: Literal[True]


class ModelOut(ModelRef):
    language: str
    labels: list[str]
    thresholds: dict[str, float]
    base_model: str
    precision: str = Field(description="Arithmetic that the runtime chose on this processor.")
    metrics: dict[str, Any]
    codebook: dict[str, Any]
    limits: dict[str, float]


class ModelListItem(BaseModel):
    version: str
    current: bool


class ModelList(BaseModel):
    models: list[ModelListItem]


class Health(BaseModel):
    status: Literal["ok"]

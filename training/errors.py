"""What the training side refuses, as exceptions.

ParaframeError (service.inference)
└── TrainingError
    ├── LabelError        a label file is wrong; names file and line
    ├── CodebookError     the codebook is incomplete or contradicts itself
    ├── RecipeError       a recipe has an unknown key or a value out of range
    ├── BaseModelError    the pretrained encoder is missing or not the published one
    └── OutputError       a file cannot be written
"""

from service.inference.errors import ParaframeError


class TrainingError(ParaframeError):
    """Base of the errors below, and for what fits none of them."""


class LabelError(TrainingError):
    """A label file is wrong; the message names file and line."""


class CodebookError(TrainingError):
    """The codebook is incomplete or contradicts itself."""


class RecipeError(TrainingError):
    """A recipe has an unknown key or a value out of range."""


class BaseModelError(TrainingError):
    """The pretrained encoder is missing, or its weights are not the published ones."""


class OutputError(TrainingError):
    """A file cannot be written."""

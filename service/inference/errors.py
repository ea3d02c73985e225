"""Everything this core refuses, as exceptions.

ParaframeError
├── ArtifactError         a model folder is incomplete, altered or of an unknown format
├── UnknownVersionError   a model version that is not there
├── InputError            a text that cannot be labelled, whoever sent it
└── EncoderError          the runtime failed or returned numbers that are not finite
"""


class ParaframeError(Exception):
    """Base of all errors that Paraframe raises on purpose; its text is written for a person."""


class ArtifactError(ParaframeError):
    """A model folder is incomplete, altered or of an unknown format. It is never served."""


class UnknownVersionError(ParaframeError):
    """No model of this version is in the models folder."""


class InputError(ParaframeError):
    """A text that cannot be labelled: blank, binary, or not valid Unicode."""


class EncoderError(ParaframeError):
    """The runtime failed on an input, or returned numbers that are not finite."""

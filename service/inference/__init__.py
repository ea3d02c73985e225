"""The shared core: text to paragraphs to labels. Knows neither torch nor HTTP.

Both the service and the training tools use it, so that what is evaluated is what is served.
Data flows one way::

    str -> text.split_paragraphs -> tokens.WindowTokenizer -> encoder.Encoder -> decide.Decider -> classifier.LabelledParagraph
"""

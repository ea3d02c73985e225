"""Training, evaluation and the command line. Imports `service.inference` and nothing else of `service`.

Modules that import torch: `network`, `fit`, `export`, `base_models`. The command line loads them only in commands that
train, so that it works, and starts fast, where only the serving requirements are installed.
"""

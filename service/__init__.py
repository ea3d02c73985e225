"""The inference service. Empty but for its version: `import service.inference` must not load the web framework."""

__version__ = "0.1.0"

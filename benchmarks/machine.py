"""What the machine itself can do: the yardstick for the engine."""

import os
import platform
import time
from pathlib import Path

import torch

_FEATURES = {"amx_bf16": "AMX-BF16", "avx512_bf16": "AVX512-BF16", "avx512f": "AVX-512"}
_SIZE = 1024
_SECONDS = 1.5


def describe() -> str:
    flags = set()
    model = platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                model = value.strip()
            if key.strip() == "flags":
                flags |= set(value.split())
    known = [name for flag, name in _FEATURES.items() if flag in flags]
    return f"{len(os.sched_getaffinity(0))} cores of {model}; {', '.join(known) or 'no AVX-512'}"


def matrix_peak(precision: torch.dtype) -> float:
    """Floating-point operations a second of a square matrix product in that precision, best of repeated runs."""
    a = torch.randn(_SIZE, _SIZE).to(precision)
    b = torch.randn(_SIZE, _SIZE).to(precision)
    best = 0.0
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end:
        start = time.perf_counter()
        for _ in range(5):
            torch.mm(a, b)
        best = max(best, 5 * 2 * _SIZE**3 / (time.perf_counter() - start))
    return best


def encoder_operations(config: object, tokens: int) -> float:
    """Floating-point operations of a transformer encoder's matrix products on a window of so many tokens."""
    hidden, inner, layers = (getattr(config, name) for name in ("hidden_size", "intermediate_size", "num_hidden_layers"))
    per_token = 2 * (4 * hidden * hidden + 2 * hidden * inner)
    attention = 4 * tokens * hidden
    return float(layers * tokens * (per_token + attention))

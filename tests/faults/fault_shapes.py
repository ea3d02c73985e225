"""Memory under any mix of shapes, and the proof that this measurement would notice."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
_SOAK = """
import random, sys
import numpy as np, psutil
from pathlib import Path
from service.inference.registry import Registry
from service.inference.classifier import Classifier
from service.inference.tokens import Window
registry = Registry(Path("models"))
classifier = Classifier(registry.read(registry.current()))
chance = random.Random(0)
def shape():
    return chance.randint(1, 24), chance.randint(3, 256)
def window(tokens):
    return Window(np.array([chance.randrange(1000, 20000) for _ in range(tokens)]), np.zeros(tokens, dtype=np.int64))
def bucketed(rows, tokens):
    classifier.encode([window(tokens) for _ in range(rows)])
def as_they_come(rows, tokens):
    request = classifier._encoder._request
    ids = np.random.default_rng(0).integers(1000, 20000, (rows, tokens))
    request.infer({0: ids, 1: np.ones_like(ids)})
run = {"bucketed": bucketed, "as they come": as_they_come}[sys.argv[1]]
process = psutil.Process()
resident = []
for turn in range(int(sys.argv[2])):
    run(*shape())
    resident.append(process.memory_info().rss / 1e6)
half = len(resident) // 2
print(resident[half], resident[-1], max(resident))
"""


def soak(how: str, turns: int) -> tuple[float, float, float]:
    """Resident megabytes half-way, at the end, and at most."""
    command = [sys.executable, "-c", _SOAK, how, str(turns)]
    middle, end, most = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    return float(middle), float(end), float(most)


def fault_shapes_of_every_kind() -> None:
    middle, end, most = soak("bucketed", 1200)
    assert end - middle < 10, f"{middle:.0f} MB half-way, {end:.0f} MB at the end"
    assert most < 350


def fault_the_soak_notices_memory_that_grows() -> None:
    middle, end, most = soak("as they come", 600)
    assert most > 350 or end - middle > 10, f"{middle:.0f} MB half-way, {end:.0f} MB at the end, {most:.0f} at most"

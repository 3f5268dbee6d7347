"""Measures one slot of this machine for the cost model; ``python -m kdscope.study.calibration`` prints it.

It runs in a process of its own, with a slot's number of threads, as a step would. On one thread processor
time counts, so that a machine that is busy with something else measures like an idle one.
"""

import importlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np

from kdscope.errors import KdscopeError

WIDTH = 768  # of the matrix product
WEIGHTS = 1 << 24  # floats that are read once per decoded token: 64 MiB, more than a cache holds
REPEATS = 9
TRAINING = (
    3.0  # a forward pass in training, with its adapters and what surrounds it, over a bare one
)


def measure_slot(threads: int) -> dict[str, float]:
    """``flops, read`` and, where torch is installed, ``call`` of :class:`Machine`.

    Raises:
        KdscopeError: the measuring process failed.
    """
    number = str(threads)
    limits = {"OMP_NUM_THREADS": number, "MKL_NUM_THREADS": number, "OPENBLAS_NUM_THREADS": number}
    done = subprocess.run(
        [sys.executable, "-m", "kdscope.study.calibration"],
        capture_output=True, text=True, check=False, env=os.environ | limits,
    )  # fmt: skip
    if done.returncode:
        raise KdscopeError(f"this machine could not be measured: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _measure() -> dict[str, float]:
    generator = np.random.default_rng(0)
    square = generator.standard_normal((WIDTH, WIDTH), dtype=np.float32)
    weights = generator.standard_normal(WEIGHTS, dtype=np.float32).reshape(4096, -1)
    state = np.ones(weights.shape[1], dtype=np.float32)
    found = {
        "flops": 2 * WIDTH**3 / _seconds(lambda: square @ square),
        "read": weights.nbytes / _seconds(lambda: weights @ state),
    }
    if find_spec("torch") is not None and find_spec("transformers") is not None:
        found |= _model()
    return found


def _model() -> dict[str, float]:
    """The embedded student, small enough that its calls cost more than its arithmetic."""
    torch = importlib.import_module("torch")
    loading = importlib.import_module("kdscope.models.loading")
    reference = {"name": "tiny-student", "source": "embedded", "dtype": "float32"}
    model = loading.load_model(reference)
    tokens = torch.arange(16).reshape(1, -1)
    with torch.no_grad():
        return {"call": TRAINING * _seconds(lambda: model(tokens))}


def _seconds(work: Callable[[], object]) -> float:
    """Median seconds of some calls, after one that does not count."""
    clock = time.process_time if os.environ.get("OMP_NUM_THREADS") == "1" else time.perf_counter
    work()
    spent = []
    for _ in range(REPEATS):
        start = clock()
        work()
        spent.append(clock() - start)
    return statistics.median(spent)


if __name__ == "__main__":
    print(json.dumps(_measure()))

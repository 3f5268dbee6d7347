"""The Triton kernel: on a GPU where there is one, else in Triton's interpreter.

The interpreter must be chosen before Triton is imported, hence the process.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton", reason="Triton (Linux only) is not installed")


def test_the_kernel_equals_the_oracle():
    environment = dict(os.environ)
    if not torch.cuda.is_available():
        environment["TRITON_INTERPRET"] = "1"
    checks = Path(__file__).with_name("row_kernel_checks.py")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(checks)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-4000:]

"""A worker between two steps."""

import subprocess
import sys

import pytest

HELD = """
import psutil
from kdscope.study import worker

def rss():
    return psutil.Process().memory_info().rss / 1e6

before = rss()
blocks = [bytearray(60_000) for _ in range(5_000)]
kept = blocks[::50]
del blocks
print(rss() - before)
worker._clean_up()
print(rss() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks glibc")
def test_memory_that_a_step_has_freed_goes_back_to_the_system():
    done = subprocess.run([sys.executable, "-c", HELD], capture_output=True, text=True, check=True)
    freed, left = map(float, done.stdout.split())
    assert freed > 250  # megabytes, of which 6 are in use
    assert left < 60

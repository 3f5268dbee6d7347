"""What the package exports, and that naming an objective needs no torch."""

import subprocess
import sys

import kdscope.divergences as room


def test_exports_are_what_they_say():
    assert sorted(room.__all__) == sorted(room._HOME)
    for name in room.__all__:
        assert getattr(room, name) is not None


def test_objectives_are_named_without_torch():
    code = (
        "import sys; from kdscope.divergences import Objective, FORMS; Objective('jsd'); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

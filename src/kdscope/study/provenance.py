"""Which code ran: the state of the source tree, for manifests and the run's folder."""

import hashlib
import subprocess
from pathlib import Path
from typing import Any

import kdscope


def code_state(folder: Path | None = None) -> tuple[dict[str, Any], str]:
    """Version, git commit and digest of the uncommitted changes; and those changes as a diff.

    Outside a git repository, or without git, only the version is known.
    """
    state: dict[str, Any] = {"kdscope": kdscope.__version__}
    place = folder or Path(kdscope.__file__).parent
    commit = _git(place, "rev-parse", "HEAD")
    if commit is None:
        return state, ""
    diff = _git(place, "diff", "HEAD", "--", ".") or ""
    state["commit"] = commit.strip()
    state["changes"] = hashlib.sha256(diff.encode()).hexdigest()[:12] if diff else None
    return state, diff


def _git(place: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(place), *arguments],
            capture_output=True, text=True, timeout=10, check=False, errors="replace",
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None

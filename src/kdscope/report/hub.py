"""Upload a folder to the hub: only when asked by name, private unless told otherwise.

``huggingface_hub`` is met here and nowhere else in this room. It finds the token by itself
(``HF_TOKEN`` or its login); no token is read, printed or kept here.
"""

import os
import re
from pathlib import Path

from kdscope.errors import RemoteError, UserError, missing_extra

_OFFLINE = {"1", "ON", "YES", "TRUE"}
_SECRET = re.compile(r"hf_[A-Za-z0-9_-]{4,}|Bearer\s+\S+")


def kind_of(folder: Path) -> str:
    """What a folder is to the hub: ``model`` where it holds weights, ``dataset`` where tables.

    Raises:
        UserError: neither, or it has no card.
    """
    if not (folder / "README.md").is_file():
        raise UserError(
            f"{folder} has no README.md, so it is no folder for the hub: make one with "
            "kdscope export RUN MODEL --out FOLDER."
        )
    if any(folder.glob("*.safetensors")):
        return "model"
    if any((folder / "data").glob("*.parquet")):
        return "dataset"
    raise UserError(f"{folder} holds neither *.safetensors nor data/*.parquet: nothing to upload.")


def files_of(folder: Path) -> list[str]:
    """What would be uploaded, as paths in the folder."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def push(folder: Path, repo: str, *, public: bool = False) -> str:
    """Upload ``folder`` as a new commit to ``repo`` on the hub and return its address.

    The repository is made private unless ``public``; one that exists keeps its visibility.

    Raises:
        UserError: not a folder for the hub, or the environment forbids the network.
        RemoteError: the hub refused or did not answer.
    """
    kind = kind_of(folder)
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in _OFFLINE:
        raise UserError(
            "HF_HUB_OFFLINE is set, so nothing may be sent: unset it for this one command to push."
        )
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError
    except ImportError as error:
        raise missing_extra("train", "huggingface_hub", "push") from error
    api = HfApi()
    try:
        place = api.create_repo(repo, repo_type=kind, private=not public, exist_ok=True)
        api.upload_folder(
            repo_id=place.repo_id,
            repo_type=kind,
            folder_path=folder,
            commit_message="Upload by kdscope push",
        )
    except LocalTokenNotFoundError:
        raise UserError("the hub wants a token: set HF_TOKEN or run `hf auth login`.") from None
    except (HfHubHTTPError, OSError, ValueError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise RemoteError(f"the hub did not take {repo}: {_SECRET.sub('***', first)}") from None
    return str(place)

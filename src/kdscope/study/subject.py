"""The one model of a verb without a study: a name, a checkpoint, an adapter, or a step's artifact."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from kdscope.errors import ModelError
from kdscope.models.sources import EMBEDDED
from kdscope.study.config import Model
from kdscope.study.identity import digest, file_digest
from kdscope.study.references import UnresolvedError, model_ref

ADAPTER = "adapter_config.json"


class Subject(NamedTuple):
    """A model that answers.

    Attributes:
        name: as tables call it.
        reference: as ``load_model`` takes it.
        path: folder of the base checkpoint, where it is local.
        trained: folder of what a training left (an adapter, or whole weights); None for none.
    """

    name: str
    reference: dict[str, Any]
    path: str | None
    trained: Path | None

    @property
    def identity(self) -> str:
        """Digest of what pins the weights, whatever they are called and wherever they lie."""
        files = [] if self.trained is None else sorted(self.trained.glob("*.safetensors"))
        trained = [file_digest(path) for path in files]
        pin = {name: value for name, value in self.reference.items() if name != "name"}
        return digest([pin, trained])


def find_subject(model: str, dtype: str = "auto") -> Subject:
    """What a model argument names.

    Args:
        model: embedded name, hub id, checkpoint folder, folder of a LoRA adapter, or the folder of a
            training step of a run (``runs/x/steps/distill/...``).
        dtype: ``auto``, ``float32``, ``bfloat16`` or ``float16``.

    Raises:
        ModelError: none of these, or an adapter whose base model cannot be found.
    """
    folder = _trained_folder(Path(model).expanduser())
    if folder is None:
        return _plain(model, dtype, None, None)
    step = _manifest(folder)
    if step is not None:
        name, reference, path = step
        if path is None and reference["source"] == "folder":
            path = _base(folder)
        if dtype != "auto":
            reference = {**reference, "dtype": dtype}
        return Subject(name, reference, path, folder)
    return _plain(_base(folder), dtype, folder.resolve().name, folder)


def _plain(model: str, dtype: str, name: str | None, trained: Path | None) -> Subject:
    try:
        ref = model_ref(Model(model=model, dtype=dtype), Path.cwd())  # type: ignore[arg-type]
    except UnresolvedError as error:
        raise ModelError(str(error)) from None
    return Subject(name or ref.name, ref.fields, ref.path, trained)


def _trained_folder(path: Path) -> Path | None:
    """The folder with what a training left, at or below a path."""
    for folder in (path, path / "model", path / "out" / "model"):
        if (folder / ADAPTER).is_file() or _manifest(folder):
            return folder
    return None


def _manifest(folder: Path) -> tuple[str, dict[str, Any], str | None] | None:
    """Name, reference and path of the model that a run's training step began with."""
    artifact = folder.resolve().parent.parent
    if folder.name != "model" or not (artifact / "manifest.json").is_file():
        return None
    manifest = json.loads((artifact / "manifest.json").read_text(encoding="utf-8"))
    reference = manifest["fields"].get("student") or manifest["fields"].get("model")
    plan = artifact.parents[2] / "plan.json"
    places = json.loads(plan.read_text(encoding="utf-8"))["locations"] if plan.is_file() else {}
    return artifact.name.rpartition("-")[0], reference, places.get(reference["name"])


def _base(folder: Path) -> str:
    """The base model that an adapter names: where it was, or an embedded one of that name."""
    settings = json.loads((folder / ADAPTER).read_text(encoding="utf-8"))
    base = str(settings.get("base_model_name_or_path") or "")
    name = Path(base).name
    if not base:
        raise ModelError(f"{folder / ADAPTER} does not name its base model: nothing can be loaded")
    if name in EMBEDDED:
        return name
    if base.startswith("/") and not Path(base).is_dir():
        raise ModelError(
            f"the base model of the adapter in {folder} was at {base}, which is not here; put the "
            f"checkpoint there, or name the right place in {folder / ADAPTER}"
        )
    return base

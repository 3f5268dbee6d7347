r"""Where each file of the catalogue comes from, pinned as far as it has been seen.

A pin names one file three ways: its place in a local folder (``KDSCOPE_DATA`` or the download
cache), its public address at a fixed commit, and its checksum. Checksums are git blob ids (the
SHA-1 of ``blob <size>\0`` and the bytes) where the source is a git repository. Where no checksum
has been seen, none is stated: the SHA-256 of the first download is recorded beside the file and
holds from then on.
"""

from dataclasses import dataclass

RAW = "https://raw.githubusercontent.com"


@dataclass(frozen=True)
class Pin:
    """One file of a public source.

    Attributes:
        path: where the file lies in a local data folder.
        url: its address at a fixed commit; None for files of the hub.
        upstream: its path inside its own repository, accepted in a local folder too.
        git_blob: git blob id, 40 hex digits; None where it has not been seen.
        size: bytes; None where it has not been seen.
        hub: ``owner/name`` of a data set on the Hugging Face hub; None for git sources.
        revision: the hub commit; None is resolved and recorded at the first download.
    """

    path: str
    url: str | None = None
    upstream: str = ""
    git_blob: str | None = None
    size: int | None = None
    hub: str | None = None
    revision: str | None = None

    @property
    def identity(self) -> str:
        """What pins the content: the blob id, else the address or revision it is taken from."""
        if self.git_blob:
            return f"git:{self.git_blob}"
        return (
            f"hub:{self.hub}@{self.revision or 'main'}/{self.upstream}"
            if self.hub
            else f"url:{self.url}"
        )


def git_pin(
    path: str, repository: str, upstream: str, blob: str | None = None, size: int | None = None
) -> Pin:
    """A file of a git repository; ``repository`` is ``owner/name/commit``."""
    return Pin(path, f"{RAW}/{repository}/{upstream}", upstream, blob, size)


def hub_pin(hub: str, file: str, revision: str | None = None) -> Pin:
    """A file of a data set on the hub; no revision is invented."""
    return Pin(f"hub/{hub}/{file}", None, file, hub=hub, revision=revision)

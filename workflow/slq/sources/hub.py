"""Download of selected files of a Hugging Face Hub repository at one commit, verified against the hub's hashes."""

import glob
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slq.common.errors import SlqError
from slq.common.files import hash_file
from slq.sources.archive import require_disk_space
from slq.sources.download import RETRIES, wait_before_retry
from slq.sources.patterns import match_names, require_file_count

WEIGHTS_SUFFIX = ".safetensors"
COMMIT_HASH = re.compile(r"[0-9a-f]{40}")
URL_SIGNATURE = re.compile(r"[?]\S+")  # removed from logged URLs, because it may give access to a file


@dataclass(frozen=True)
class HubRepository:
    """Repository on the hub.

    Attributes:
        kind: `model` or `dataset`.
        name: owner/name.
    """

    kind: str
    name: str

    def resolve_commit(self, revision: str) -> str:
        """Return the commit of a branch or tag; a commit hash is returned unchanged, without a request."""
        return revision if COMMIT_HASH.fullmatch(revision) else str(self._fetch_info(revision).sha)

    def fetch_files(
        self, commit: str, patterns: Sequence[str], count: int | None, out: Path, small: bool = False
    ) -> dict[str, str]:
        """Download the files that match the patterns at a commit into `out`; files that exist there are kept.

        Args:
            commit: commit hash.
            patterns: patterns over the paths in the repository.
            count: number of files that must match; None for any number above 0.
            out: folder to download to.
            small: whether weights are left out.

        Returns:
            The SHA-256 of every file, by path. For weights that are left out, it is the hub's.
        """
        entries = {entry.rfilename: entry for entry in self._fetch_info(commit).siblings or []}
        names = match_names(entries, patterns)
        require_file_count(f"{self.name}@{commit[:8]}", names, patterns, count)
        out.mkdir(parents=True, exist_ok=True)
        large = [name for name in names if small and name.endswith(WEIGHTS_SUFFIX) and entries[name].lfs]
        weights = {name: entries[name].lfs.sha256 for name in large}
        names = [name for name in names if name not in weights]
        missing_bytes = sum(entries[name].size or 0 for name in names if not (out / name).is_file())
        require_disk_space(out, missing_bytes, f"for {self.name}")
        self._download(commit, names, out)
        return self._verify_hashes(entries, names, out) | weights

    def _fetch_info(self, revision: str) -> Any:
        """Fetch the hub's index of the files of a revision, with retries while the hub is busy."""
        from huggingface_hub import HfApi, errors

        with _translate_errors(self, revision):
            retries = RETRIES
            while True:
                try:
                    return HfApi().repo_info(self.name, repo_type=self.kind, revision=revision, files_metadata=True)
                except errors.HfHubHTTPError as error:
                    response = error.response
                    retries = wait_before_retry(
                        retries, error, response.status_code, response.headers.get("Retry-After")
                    )

    def _download(self, commit: str, names: Sequence[str], out: Path) -> None:
        """Download files at a commit into `out`."""
        from huggingface_hub import snapshot_download

        # The hub's client does not resume the partial files of a killed process.
        for partial_file in (out / ".cache").rglob("*.incomplete"):
            partial_file.unlink()
        patterns = [glob.escape(name) for name in names]
        with _translate_errors(self, commit):
            snapshot_download(self.name, repo_type=self.kind, revision=commit, allow_patterns=patterns, local_dir=out)

    def _verify_hashes(self, entries: Mapping[str, Any], names: Sequence[str], out: Path) -> dict[str, str]:
        """Return the SHA-256 of all files, after comparing them with the index.

        Files that do not match are removed, so that the next call fetches them again, and raise an error.
        """
        hashes = {name: hash_file(out / name) for name in names}
        wrong = [name for name, digest in hashes.items() if not _matches_index(entries[name], digest, out / name)]
        for name in wrong:
            (out / name).unlink()
        if wrong:
            wrong_names = ", ".join(wrong[:3]) + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else "")
            raise SlqError(f"{self.name}: hash differs from the hub's index: {wrong_names}; removed, fetch again")
        return hashes


def _matches_index(entry: Any, digest: str, path: Path) -> bool:
    """Return whether a file matches the index, which has the SHA-256 of large files and the git hash of small files."""
    from huggingface_hub.utils.sha import git_hash

    return digest == entry.lfs.sha256 if entry.lfs else git_hash(path.read_bytes()) == entry.blob_id


@contextmanager
def _translate_errors(repository: HubRepository, revision: str) -> Iterator[None]:
    """Translate errors of the hub's client into one SlqError with advice."""
    from huggingface_hub import errors

    # A refused connection raises the HTTP library's own error: of httpx or httpx2, depending on the client's version.
    unreachable: type[Exception] = errors.HTTPError  # type: ignore[attr-defined]
    try:
        yield
    except (unreachable, OSError, errors.EntryNotFoundError) as error:
        raise SlqError(f"{repository.name}@{revision}: not fetched: {_explain_error(repository, error)}") from None


def _explain_error(repository: HubRepository, error: Exception) -> str:
    """Explain an error with advice, and without signatures in URLs."""
    from huggingface_hub import constants, errors

    page = f"{constants.ENDPOINT}/{'datasets/' if repository.kind == 'dataset' else ''}{repository.name}"
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.GatedRepoError):
        return f"it is gated; accept its terms at {page}, then log in with `hf auth login` or HF_TOKEN"
    if isinstance(error, errors.RevisionNotFoundError):
        return "the repository has no such revision; correct it in config.yaml, or in sources.lock"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"{page} does not exist or is private: correct the name, or log in with `hf auth login` or HF_TOKEN"
    if status is not None:
        return f"the hub answers {status}; fetch again later, finished files are kept"
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        return f"cannot be written: {error.strerror}; free disk space and fetch again, finished files are kept"
    first = URL_SIGNATURE.sub("", str(error).strip().partition("\n")[0]) or type(error).__name__
    return f"the hub cannot be reached ({first}); check the network"

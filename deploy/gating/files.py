"""A version's files on this machine, and whether they are what the registry says: looked at before any is opened."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Protocol

import msgspec

from converters.modelfile import ARTIFACT_NAME, read_metadata
from converters.session import open_session, properties_of
from deploy.fitness import PARITY_TAG
from gateway.sync.base import SHA256_TAG, MissingModelFileError, ModelTooLargeError
from gateway.sync.gate_record import Check
from training.evidence import HELDOUT, TRAINED

if TYPE_CHECKING:
    from collections.abc import Callable

    from converters.verify import Verdict
    from gateway.sync.base import RegisteredVersion, Registry
    from gateway.sync.gate_record import GateOutcome

__all__ = ["Brought", "EvidenceStore", "MlflowEvidence", "bring", "check_file", "check_parity"]


class EvidenceStore(Protocol):
    """Where a version's evidence lies."""

    def fetch(self, name: str, version: int, folder: Path) -> None:
        """Put those of `heldout.csv` and `trained.u64` that the version has into the folder."""
        ...


class Brought(msgspec.Struct, frozen=True, kw_only=True):
    """A version whose model file was brought here, if it has one."""

    name: str
    """As it is shown: `version 3`."""
    tags: dict[str, str]
    folder: Path
    sha256: str | None
    """Of the bytes; None without a file."""
    missing: str = ""
    """Why there is none, and what to do."""

    @property
    def file(self) -> Path:
        """The model file."""
        return self.folder / ARTIFACT_NAME


class MlflowEvidence:
    """The evidence in a version's artifacts, by mlflow's own transport."""

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def fetch(self, name: str, version: int, folder: Path) -> None:
        """See `EvidenceStore`; raises MLflow's exceptions."""
        from mlflow import MlflowClient
        from mlflow.artifacts import download_artifacts, list_artifacts

        client = MlflowClient(self._uri, self._uri)
        source = client.get_model_version_download_uri(name, str(version)).rstrip("/")
        for found in list_artifacts(artifact_uri=source, tracking_uri=self._uri):
            file = PurePosixPath(found.path).name
            if file in {HELDOUT, TRAINED}:
                download_artifacts(artifact_uri=f"{source}/{file}", dst_path=str(folder), tracking_uri=self._uri)


def bring(registry: Registry, name: str, version: RegisteredVersion, folder: Path, *, limit_bytes: int) -> Brought:
    """Fetch a version's model file as the sidecar would; a version without one is no error, but what was found."""
    folder.mkdir(parents=True)
    shown, missing, sha256 = f"version {version.version}", "", None
    try:
        registry.download(name, version.version, folder / ARTIFACT_NAME, limit_bytes=limit_bytes)
        sha256 = hashlib.sha256((folder / ARTIFACT_NAME).read_bytes()).hexdigest()
    except (MissingModelFileError, ModelTooLargeError) as error:
        missing = str(error)
    return Brought(name=shown, tags=version.tags, folder=folder, sha256=sha256, missing=missing)


def check_file(brought: Brought, verify: Callable[[Path], Verdict]) -> tuple[Check, ...]:
    """Hold the bytes against the registry's hash, and only then let the verifier see them, in a child process."""
    tag = brought.tags.get(SHA256_TAG)
    if brought.sha256 is None:
        return (Check(name="integrity", outcome="fail", reason=brought.missing),)
    if brought.sha256 != tag:
        told = f"its tag {SHA256_TAG} says {tag[:12]}" if tag else f"it has no tag {SHA256_TAG}"
        reason = f"the file's hash is {brought.sha256[:12]}, {told}: register the file anew"
        return (Check(name="integrity", outcome="fail", reason=reason),)
    whole = Check(name="integrity", outcome="pass", reason=f"the file's hash is the tag's, {brought.sha256[:12]}")
    verdict = verify(brought.file)
    if not verdict.ok:
        # What says nothing of the file, as a lack of memory, is no ground to call it bad.
        outcome: GateOutcome = "fail" if verdict.deterministic else "inconclusive"
        return (whole, Check(name="verifier", outcome=outcome, reason=verdict.reason))
    reason = f"let through; its golden rows are answered within {verdict.error_max:.1e} of scikit-learn"
    return (whole, Check(name="verifier", outcome="pass", reason=reason))


def check_parity(brought: Brought) -> Check:
    """Whether the registry, too, says that the model answers as scikit-learn did; how well, its certificate tells.

    The file has passed the verifier, which refuses one whose certificate is not of a pass.
    """
    certificate = read_metadata(properties_of(open_session(brought.file.read_bytes()))).parity
    said = brought.tags.get(PARITY_TAG)
    if said != "pass":
        told = f"says {said!r}" if said else "is missing"
        return Check(name="parity", outcome="fail", reason=f"tag {PARITY_TAG} {told}: convert and register it anew")
    reason = (
        f"largest distance from scikit-learn {certificate.error_max:.1e} on {certificate.rows} rows,"
        f" at most {certificate.tolerance:.1e} is allowed"
    )
    return Check(name="parity", outcome="pass", reason=reason)

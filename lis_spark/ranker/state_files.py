"""Folders of the states of M_t: a manifest with the hash of each file, published by one rename, removed when forked."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

from lis_spark.errors import StaleError
from lis_spark.ranker.plans import StateSpec

MANIFEST = "manifest.json"


def read_manifest(folder: Path) -> dict[str, object] | None:
    """The manifest of a finished day, None where there is none."""
    file = folder / MANIFEST
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def verified_files(state: StateSpec) -> list[Path]:
    """The files of a state, each with the hash that its manifest says, and the table where it is known.

    Raises:
        StaleError: naming the folder or file.
    """
    folder = Path(state.folder)
    manifest = read_manifest(folder)
    listed = manifest.get("files") if manifest else None
    if not isinstance(listed, list) or not listed:
        raise StaleError(
            "the state of a model is not there",
            table="model_snapshots",
            partition=str(folder),
            remedy="train with --force",
        )
    if manifest and manifest["fingerprint"] != state.fingerprint:
        raise StaleError(
            "the state of a model is that of another training: other data or settings",
            table="model_snapshots",
            partition=str(folder),
            found=f"fingerprint {manifest['fingerprint']}",
            expected=state.fingerprint,
            remedy="give each lake a lake.work_path of its own, then train with --force",
        )
    told = ",".join(entry["sha256"] for entry in listed)
    if state.sha256 not in (None, told):
        raise StaleError(
            "the state of a model is not the one that the table has",
            table="model_snapshots",
            partition=str(folder),
            found=f"files of {told}",
            expected=state.sha256,
            remedy="give each lake a lake.work_path of its own, then train with --force",
        )
    files = []
    for entry in listed:
        file = folder / entry["name"]
        found = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "no such file"
        if found != entry["sha256"]:
            raise StaleError(
                "the state of a model was changed or removed",
                table="model_snapshots",
                partition=str(file),
                found=found,
                expected=entry["sha256"],
                remedy="train with --force",
            )
        files.append(file)
    return files


def publish(temporary: Path, folder: Path, manifest: dict[str, object]) -> None:
    """Makes a finished day visible: the manifest inside, then one rename."""
    (temporary / MANIFEST).write_text(json.dumps(manifest, sort_keys=True), encoding="utf-8")
    if folder.exists():
        shutil.rmtree(folder)
    os.replace(temporary, folder)


def drop_state(folder: Path) -> None:
    """Removes a state that nobody will fork from; its snapshot and manifest stay."""
    for file in folder.glob("state-*.safetensors"):
        file.unlink()

"""Files of kept runs changed as if they had been written like that: checksums and all."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from sim.results.storage import checksum


def rewrite(path: Path, text: str) -> None:
    """Put another text into a file of a run, and its checksum into the manifest."""
    path.write_text(text)
    manifest = json.loads((path.parent / "manifest.json").read_text())
    manifest["checksums"][path.name] = checksum(path)
    write_manifest(path.parent, manifest)


def write_manifest(directory: Path, manifest: dict[str, Any]) -> None:
    """Put another manifest into a run, with its own checksum."""
    own = {key: value for key, value in manifest.items() if key != "checksums"}
    digest = hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()
    whole = manifest | {"checksums": manifest["checksums"] | {"manifest.json": digest}}
    (directory / "manifest.json").write_text(json.dumps(whole))

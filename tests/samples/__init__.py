"""A small file of each kind that a reader reads, made here after the published schemas."""

from __future__ import annotations

from tests.samples import measured, recorded
from tests.samples.sample import Sample

SAMPLES: dict[str, Sample] = dict(sorted({**measured.SAMPLES, **recorded.SAMPLES}.items()))

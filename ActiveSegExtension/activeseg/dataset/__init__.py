"""The dataset on disk. ``Dataset`` is the entry; everything else here is its parts."""

from activeseg.dataset.dataset import Dataset, OpenedCase, Saved
from activeseg.dataset.listing import CaseEntry
from activeseg.dataset.provenance import Origin, Provenance
from activeseg.dataset.verification import Finding

__all__ = ["CaseEntry", "Dataset", "Finding", "OpenedCase", "Origin", "Provenance", "Saved"]

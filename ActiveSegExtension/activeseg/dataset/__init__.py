"""The dataset on disk. ``Dataset`` is the entry; everything else here is its parts."""

from activeseg.dataset.dataset import Dataset
from activeseg.dataset.listing import CaseEntry
from activeseg.dataset.new_case import NewCase, OpenedCase, Saved
from activeseg.dataset.provenance import Origin, Provenance
from activeseg.dataset.verification import Finding

__all__ = ["CaseEntry", "Dataset", "Finding", "NewCase", "OpenedCase", "Origin", "Provenance", "Saved"]

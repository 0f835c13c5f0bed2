"""Candidates: what a model would make of labels that exist, for a person to review; of a dataset or a BIDS tree."""

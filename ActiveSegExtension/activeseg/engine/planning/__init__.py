"""Whether a segmentation fits, how long it takes, and what to do when it does not fit."""

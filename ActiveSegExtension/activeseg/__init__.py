"""ActiveSeg: segment a CT, see where the model is unsure, correct it, and let the model learn from it."""

__version__ = "0.1.0"

"""The engine's own Python environment: planned, installed, checked, repaired and removed."""

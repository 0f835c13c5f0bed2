"""Fine-tuning: planned, prepared, run in a process of its own, and published as a version."""

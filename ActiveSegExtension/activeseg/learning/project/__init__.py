"""A project on disk: its dataset, hold-out, versions and the gate between them."""

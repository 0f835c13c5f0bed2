"""How good a version is on held-out cases, and whether it is better than another."""

"""What each method of the protocol does: one file for each family of methods."""

"""Sample data: the phantom."""

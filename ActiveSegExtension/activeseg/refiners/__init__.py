"""What answers a prompt, or spreads corrections over the rest of a case. ``Refiner`` is the protocol."""

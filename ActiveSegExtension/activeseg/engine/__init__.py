"""The engine's side of the protocol: a supervisor that answers at once, and the processes that do the work."""

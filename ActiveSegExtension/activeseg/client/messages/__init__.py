"""What a client may ask of the engine, what it answers, and what it tells: a frozen dataclass for each message."""

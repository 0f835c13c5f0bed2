"""What a caller needs to work with an engine: the protocol, the client, how the engine is started, its environment.

Part of the core: it runs in Slicer's Python with nothing installed.
"""

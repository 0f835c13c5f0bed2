"""The processes that do the work: the worker, with its warm models, and the clerk."""

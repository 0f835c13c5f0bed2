"""The original nnInteractive on weights that the user brings: it answers prompts about one object at a time.

It is no segmenter, since it segments nothing without a prompt; ``refiners.nninteractive`` offers it. Its code is under
Apache-2.0, its authors' weights are not (CC BY-NC-SA 4.0), so they are never brought or fetched by ActiveSeg.
"""

"""What the ActiveSeg module is made of; ``ActiveSegModule.py`` beside this package only holds Slicer's own classes."""

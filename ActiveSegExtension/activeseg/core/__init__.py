"""The nouns: errors, progress, labels, geometry, volumes, votes, segmenters, corrections. They know no file format."""

"""Models of nnU-Net: their folders, networks, ensembles and resampling."""

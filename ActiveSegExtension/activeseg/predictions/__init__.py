"""One segmentation: made, kept in a folder, and shown in a picture."""

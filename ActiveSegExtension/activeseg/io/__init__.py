"""One file for each format: images, label maps and arrays in and out."""

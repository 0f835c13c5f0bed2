"""TotalSegmentator's tasks, run by its own package in a sandbox."""

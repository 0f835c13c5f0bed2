"""What a person changed: drafts while they work, export into a dataset when they are done."""

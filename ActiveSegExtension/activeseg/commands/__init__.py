"""The commands of ``activeseg``, one file for each family; ``cli`` puts them together."""

"""Where a model is uncertain, which regions a person should review, and the alternatives in each."""

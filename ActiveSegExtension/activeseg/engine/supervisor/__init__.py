"""The process that answers at once and starts, watches and ends the others. It never imports torch."""

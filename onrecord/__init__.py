"""Every run, on record."""

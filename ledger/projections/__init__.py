"""Read models rebuilt from events at any time."""

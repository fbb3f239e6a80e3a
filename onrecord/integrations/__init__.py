"""What training libraries report of themselves, into the current run: each module needs its library only when used."""

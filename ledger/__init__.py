"""Facts about runs: append-only events in SQLite, their proofs, and the queries that read them."""

if __name__ != "onrecord.ledger":
    raise ImportError(f"import onrecord.ledger, not {__name__}: a second copy would keep its own state")

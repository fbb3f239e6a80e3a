"""Content-addressed copies of folders."""

if __name__ != "onrecord.snapshot":
    raise ImportError(f"import onrecord.snapshot, not {__name__}: a second copy would keep its own state")

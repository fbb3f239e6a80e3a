"""The command `onrecord`: data on stdout, narration on stderr, documented exit codes."""

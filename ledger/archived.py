"""Which runs are archived: those that were, and those whose experiment was after their submission."""

# Of the row `r` of the table of runs.
ARCHIVED = "(r.archived_at IS NOT NULL OR r.experiment IN (SELECT experiment FROM archived_experiments))"

"""Whether a run can start here, and what it would take: looked at before a person types the command."""

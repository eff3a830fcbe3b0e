"""Whether a run can start here, and what it would submit: looked at before a person types the command."""

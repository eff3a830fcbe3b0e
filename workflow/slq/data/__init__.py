"""Sets and snapshots: fetched or adopted, checked, and written in the one form that everything else reads."""

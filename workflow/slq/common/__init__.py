"""Used by every room: errors, small files, events, job attempts, snapshots, code fingerprints, inherited results."""

"""Code shared by all subpackages: errors, files, events, job attempts, snapshots, code fingerprints, shared results."""

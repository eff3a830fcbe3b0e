"""Shared by all subpackages: errors, small files, events, job attempts, snapshots, fingerprints, shared results."""

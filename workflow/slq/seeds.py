"""Which seeds a method's runs have: a run is a backbone, a method and a seed."""

from collections.abc import Sequence

BASE_SEED = 0  # where the untouched base is stored: nothing in it is random, so it has no seed of its own


def seeds_of(method: str, seeds: Sequence[int]) -> tuple[int, ...]:
    """One run per seed of a trained method, one run of the base whatever the seeds are."""
    return (BASE_SEED,) if method == "base" else tuple(seeds)

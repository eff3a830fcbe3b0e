"""Image fingerprints: thumbnails that detect near-duplicates, such as a re-encoded or rescaled copy of an image."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from slq.common.errors import SlqError
from slq.common.files import hash_json, write_bytes
from slq.common.fingerprint import fingerprint
from slq.datasets.splits import Split

FINGERPRINT_SIZE = 24  # pixels per side
# Largest distance between fingerprints of the same picture, as the root mean square difference of levels from 0 to 255.
# Copies at JPEG quality 30 or at half the size have smaller distances; the two most similar synthetic scenes have 5.9
# (docs/log.md).
MAX_DISTANCE = 5.0
# Pixels per side of a downsampled fingerprint. Downsampling never increases a distance, so a large distance between
# downsampled fingerprints rules out a pair.
DOWNSAMPLED_SIZE = 4
MAX_LISTED = 20  # number of unusable images that a message lists
ROWS_PER_BLOCK = 2048  # fingerprints of the training set that are compared at once
PAIRS_PER_BLOCK = 10_000  # candidate pairs that are compared at full size at once


def compute_image_fingerprint(image: Image.Image) -> np.ndarray:
    """Downscale an RGB image to its fingerprint (FINGERPRINT_SIZE, FINGERPRINT_SIZE, 3), uint8."""
    return np.asarray(image.resize((FINGERPRINT_SIZE, FINGERPRINT_SIZE), Image.Resampling.BILINEAR))


def compute_split_fingerprints(split: Split, work: Path, threads: int) -> np.ndarray:
    """Compute the fingerprints (n, FINGERPRINT_SIZE, FINGERPRINT_SIZE, 3) of a split's images.

    They are in the order of the split's `image_hashes`. The result is cached under `work`, with a key from the hash of
    the split and the fingerprint of this code, so every image is decoded only once.
    """
    cache_file = work / "prints" / f"{hash_json([split.sha256, fingerprint(__name__)])[:16]}.npy"
    if cache_file.exists():
        fingerprints: np.ndarray = np.load(cache_file)
        return fingerprints
    with ThreadPoolExecutor(threads) as pool:  # decoding and scaling release the GIL
        results = list(pool.map(partial(_fingerprint_or_error, split), split.image_hashes, chunksize=64))
    errors = {path: one for path, one in zip(split.image_hashes, results, strict=True) if isinstance(one, SlqError)}
    if errors:
        first, *others = errors
        listing = f"; others: {', '.join(others[:MAX_LISTED])}" if others else ""
        count = f"{len(errors):,} of {len(results):,} images cannot be used"
        raise SlqError(f"{split.name}: {count}; the first: {errors[first]}{listing}")
    fingerprints = np.array(results, np.uint8).reshape(-1, FINGERPRINT_SIZE, FINGERPRINT_SIZE, 3)
    buffer = BytesIO()
    np.save(buffer, fingerprints)
    write_bytes(cache_file, buffer.getvalue())
    return fingerprints


def _fingerprint_or_error(split: Split, path: str) -> np.ndarray | SlqError:
    """Return the fingerprint of an image, or the error if it cannot be read."""
    try:
        return compute_image_fingerprint(split.open(path))
    except SlqError as error:
        return error


def find_near_duplicates(fingerprints: np.ndarray, other_fingerprints: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield the pairs of indices, into both arguments, of fingerprints that are within MAX_DISTANCE of each other.

    Args:
        fingerprints: (n, FINGERPRINT_SIZE, FINGERPRINT_SIZE, 3).
        other_fingerprints: (m, FINGERPRINT_SIZE, FINGERPRINT_SIZE, 3).
    """
    other_downsampled = _downsample(other_fingerprints)
    for start in range(0, len(fingerprints), ROWS_PER_BLOCK):
        block = fingerprints[start : start + ROWS_PER_BLOCK]
        candidates = np.argwhere(_mean_squared_distances(_downsample(block), other_downsampled) <= MAX_DISTANCE**2)
        for first in range(0, len(candidates), PAIRS_PER_BLOCK):
            rows, columns = candidates[first : first + PAIRS_PER_BLOCK].T
            difference = (block[rows].astype(np.float32) - other_fingerprints[columns]).reshape(len(rows), -1)
            is_near = (difference**2).mean(1) <= MAX_DISTANCE**2
            yield from zip((rows[is_near] + start).tolist(), columns[is_near].tolist(), strict=True)


def _downsample(fingerprints: np.ndarray) -> np.ndarray:
    """Average fingerprints over squares; return them as (n, DOWNSAMPLED_SIZE * DOWNSAMPLED_SIZE * 3).

    The values are centred around zero, so that later products lose little precision.
    """
    step = FINGERPRINT_SIZE // DOWNSAMPLED_SIZE
    parts = fingerprints.reshape(len(fingerprints), DOWNSAMPLED_SIZE, step, DOWNSAMPLED_SIZE, step, 3)
    return parts.mean((2, 4), dtype=np.float32).reshape(len(fingerprints), -1) - 128


def _mean_squared_distances(vectors: np.ndarray, other_vectors: np.ndarray) -> np.ndarray:
    """Compute the mean squared differences (n, m) between rows, minus a margin for rounding in float32.

    Because of the margin, no pair within MAX_DISTANCE is missed.
    """
    width = vectors.shape[1]
    squared_norms = (vectors**2).sum(1)[:, None] + (other_vectors**2).sum(1)
    distances: np.ndarray = (squared_norms - 2 * vectors @ other_vectors.T) / width - 0.1
    return distances

"""Image fingerprints: thumbnails by which an image is recognised after it was encoded again or scaled."""

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
# Largest distance between fingerprints of the same picture: the root mean square of their differences, in levels of 0
# to 255. Copies at JPEG quality 30 or with half the sides are nearer; the two nearest drawn scenes are at 5.9
# (docs/log.md).
MAX_DISTANCE = 5.0
# Pixels per side of a downsampled fingerprint: its distances are never larger, which rules out most pairs.
DOWNSAMPLED_SIZE = 4
MAX_LISTED = 20  # images that cannot be used, in a message
ROWS_PER_BLOCK = 2048  # fingerprints of the training set compared at once
PAIRS_PER_BLOCK = 10_000  # candidate pairs compared at full size at once


def compute_image_fingerprint(image: Image.Image) -> np.ndarray:
    """Compute the fingerprint of an RGB image: the mean colours of its parts.

    Its shape is (FINGERPRINT_SIZE, FINGERPRINT_SIZE, 3), its values are bytes.
    """
    return np.asarray(image.resize((FINGERPRINT_SIZE, FINGERPRINT_SIZE), Image.Resampling.BILINEAR))


def compute_split_fingerprints(split: Split, work: Path, threads: int) -> np.ndarray:
    """Compute the fingerprints of a split's images, in the order of its `image_hashes`.

    Their shape is (n, FINGERPRINT_SIZE, FINGERPRINT_SIZE, 3). Every image is decoded once: the result is cached under
    `work`, under a key of the split's hash and the code's.

    Raises:
        SlqError: images cannot be read; the message says how many, and names the first.
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
        listing = f"; the others: {', '.join(others[:MAX_LISTED])}" if others else ""
        count = f"{len(errors):,} of {len(results):,} images cannot be used"
        raise SlqError(f"{split.name}: {count}; the first: {errors[first]}{listing}")
    fingerprints = np.array(results, np.uint8).reshape(-1, FINGERPRINT_SIZE, FINGERPRINT_SIZE, 3)
    buffer = BytesIO()
    np.save(buffer, fingerprints)
    write_bytes(cache_file, buffer.getvalue())
    return fingerprints


def _fingerprint_or_error(split: Split, path: str) -> np.ndarray | SlqError:
    """Return an image's fingerprint, or the error of one that cannot be read."""
    try:
        return compute_image_fingerprint(split.open(path))
    except SlqError as error:
        return error


def find_near_duplicates(fingerprints: np.ndarray, other_fingerprints: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield the index pairs of fingerprints that are within MAX_DISTANCE of each other.

    The first index of a pair is one of `fingerprints`, the second one of `other_fingerprints`.

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
    """Average fingerprints over squares to (n, DOWNSAMPLED_SIZE * DOWNSAMPLED_SIZE * 3).

    The values are centred around zero, so that products lose little precision.
    """
    step = FINGERPRINT_SIZE // DOWNSAMPLED_SIZE
    parts = fingerprints.reshape(len(fingerprints), DOWNSAMPLED_SIZE, step, DOWNSAMPLED_SIZE, step, 3)
    return parts.mean((2, 4), dtype=np.float32).reshape(len(fingerprints), -1) - 128


def _mean_squared_distances(vectors: np.ndarray, other_vectors: np.ndarray) -> np.ndarray:
    """Compute the mean squared differences (n, m) between rows, less what float32 may round up."""
    width = vectors.shape[1]
    squared_norms = (vectors**2).sum(1)[:, None] + (other_vectors**2).sum(1)
    distances: np.ndarray = (squared_norms - 2 * vectors @ other_vectors.T) / width - 0.1
    return distances

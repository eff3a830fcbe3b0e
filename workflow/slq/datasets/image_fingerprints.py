"""Small prints of images, by which a picture is found again that was encoded or scaled anew."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from slq.common.errors import SlqError
from slq.common.files import digest, write_bytes
from slq.common.fingerprint import fingerprint
from slq.datasets.prepared import Split

SIDE = 24  # pixels along a print
# Largest distance of prints of one picture: the root mean square of their differences, in levels of 0 to 255. Copies of
# JPEG quality 30, or with half the sides, are nearer; the two nearest drawn scenes are at 5.9 (docs/log.md).
ALIKE = 5.0
COARSE = 4  # pixels along a coarser print, whose distances are never larger: it rules nearly all pairs out
ROWS = 2048  # of the training set compared at once
PAIRS = 10_000  # compared in full at once


def print_of(image: Image.Image) -> np.ndarray:
    """The print (SIDE, SIDE, 3) of an RGB image, in bytes: mean colours of its parts, whatever its size and shape."""
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def prints_of(split: Split, work: Path, threads: int) -> np.ndarray:
    """Prints (n, SIDE, SIDE, 3) of the images of a split in the order of its `files`: every image is decoded once.

    They are kept under `work` by what they are made of.

    Raises:
        SlqError: images cannot be read: how many, and the first.
    """
    kept = work / "prints" / f"{digest([split.sha256, fingerprint(__name__)])[:16]}.npy"
    if kept.exists():
        prints: np.ndarray = np.load(kept)
        return prints
    with ThreadPoolExecutor(threads) as pool:  # decoding and scaling let other threads run
        found = list(pool.map(partial(_print_or_fault, split), split.files, chunksize=64))
    faults = [one for one in found if isinstance(one, SlqError)]
    if faults:
        raise SlqError(f"{split.name}: {len(faults):,} of {len(found):,} images cannot be used; the first: {faults[0]}")
    prints = np.array(found, np.uint8).reshape(-1, SIDE, SIDE, 3)
    buffer = BytesIO()
    np.save(buffer, prints)
    write_bytes(kept, buffer.getvalue())
    return prints


def _print_or_fault(split: Split, path: str) -> np.ndarray | SlqError:
    try:
        return print_of(split.open(path))
    except SlqError as error:
        return error


def alike(ones: np.ndarray, others: np.ndarray) -> Iterator[tuple[int, int]]:
    """Every pair (number among `ones`, number among `others`) whose prints are within ALIKE of each other.

    Args:
        ones (n, SIDE, SIDE, 3), others (m, SIDE, SIDE, 3): prints.
    """
    coarse = _coarse(others)
    for start in range(0, len(ones), ROWS):
        block = ones[start : start + ROWS]
        near = np.argwhere(_squares(_coarse(block), coarse) <= ALIKE**2)
        for first in range(0, len(near), PAIRS):
            rows, columns = near[first : first + PAIRS].T
            difference = (block[rows].astype(np.float32) - others[columns]).reshape(len(rows), -1)
            kept = (difference**2).mean(1) <= ALIKE**2
            yield from zip((rows[kept] + start).tolist(), columns[kept].tolist(), strict=True)


def _coarse(prints: np.ndarray) -> np.ndarray:
    """Means over squares of a print (n, COARSE * COARSE * 3), around zero so that products lose little."""
    step = SIDE // COARSE
    parts = prints.reshape(len(prints), COARSE, step, COARSE, step, 3)
    return parts.mean((2, 4), dtype=np.float32).reshape(len(prints), -1) - 128


def _squares(ones: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Mean squared differences (n, m) of rows, less what float32 may round up."""
    width = ones.shape[1]
    lengths = (ones**2).sum(1)[:, None] + (others**2).sum(1)
    squares: np.ndarray = (lengths - 2 * ones @ others.T) / width - 0.1
    return squares

"""Pack the small files of hub snapshots into the archive that `make test-snapshots` unpacks, the same bytes each time.

python tests/snapshots/pack.py FOLDER. A file that is byte for byte in an earlier folder of the archive is left out, as
are the weights; `unpack` copies what SHARED names.
"""

import hashlib
import io
import lzma
import shutil
import sys
import tarfile
from pathlib import Path

ARCHIVE = Path(__file__).parents[1] / "data/snapshots.tar.xz"
SHARED = {"InternVL3-8B": "InternVL3-1B", "Qwen3-VL-4B": "Qwen3-VL-2B"}  # by snapshot, whose tokenizer it has
TOKENIZER_FILES = ("tokenizer.json", "vocab.json")
LARGEST = 6_000_000  # bytes of the archive


def pack(folder: Path, archive: Path) -> None:
    """Write the archive of the files in the folders of `folder`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted(folder.glob("*/*")):
            shared = path.parent.name in SHARED and path.name in TOKENIZER_FILES
            if path.is_file() and path.suffix != ".safetensors" and not shared:
                entry = tarfile.TarInfo(path.relative_to(folder).as_posix())  # time, owner and mode are constants
                entry.size = path.stat().st_size
                tar.addfile(entry, io.BytesIO(path.read_bytes()))
    packed = lzma.compress(buffer.getvalue(), preset=9 | lzma.PRESET_EXTREME)
    if len(packed) > LARGEST:
        raise SystemExit(f"{archive}: would have {len(packed):,} bytes, at most {LARGEST:,} are allowed")
    archive.write_bytes(packed)
    print(f"{archive}: {len(packed):,} bytes, sha256 {hashlib.sha256(packed).hexdigest()}")


def unpack(archive: Path, folder: Path) -> None:
    """Unpack the archive, and copy the tokenizers that snapshots share."""
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    for name, owner in SHARED.items():
        for file in TOKENIZER_FILES:
            if (folder / owner / file).exists():
                shutil.copyfile(folder / owner / file, folder / name / file)


if __name__ == "__main__":
    pack(Path(sys.argv[1]), ARCHIVE)

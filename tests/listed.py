"""Tiny sources in their original layouts: COCO and Flickr30K with Karpathy's splits, and COCO 2017."""

import io
import json
from pathlib import Path
from typing import Any

from PIL import Image

from asjob import run_job
from slq.common.snapshots import write_manifest

# COCO id: Karpathy's split, folder. Only 42 is the id of a real COCO test image.
COCO = {1: ("train", "train2014"), 2: ("restval", "val2014"), 139: ("val", "val2014"), 42: ("test", "val2014")}
FLICKR = {"1000092795": "train", "10002456": "val", "1007129816": "test"}


def jpeg(number: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (16, 12), (number % 256, 90, 200)).save(file, "JPEG")
    return file.getvalue()


def captions(number: Any, count: int = 5) -> list[str]:
    return [f"Caption {place} of {number}." for place in range(count)]


def sentences(texts: list[str]) -> list[dict[str, Any]]:
    return [{"tokens": text.split(), "raw": f"{text} ", "imgid": 0, "sentid": n} for n, text in enumerate(texts)]


def coco(folder: Path) -> Path:
    """Write COCO 2014 with Karpathy's splits; image 42 has six captions."""
    files, images = {}, []
    for number, (split, place) in COCO.items():
        name = f"COCO_{place}_{number:012d}.jpg"
        texts = captions(number, 6 if number == 42 else 5)
        images.append(
            {"filepath": place, "filename": name, "split": split, "cocoid": number} | {"sentences": sentences(texts)}
        )
        files[f"{place}/{name}"] = jpeg(number)
    files["dataset_coco.json"] = json.dumps({"dataset": "coco", "images": images}).encode()
    for year in ("train2014", "val2014"):
        there = [number for number, (_, place) in COCO.items() if place == year]
        files[f"annotations/captions_{year}.json"] = annotations(there)
    return source(folder, files)


def flickr30k(folder: Path) -> Path:
    images = [
        {"filename": f"{number}.jpg", "split": split, "sentences": sentences(captions(number))}
        for number, split in FLICKR.items()
    ]
    files = {f"flickr30k-images/{number}.jpg": jpeg(int(number)) for number in FLICKR}
    return source(folder, files | {"dataset_flickr30k.json": json.dumps({"images": images}).encode()})


def coco2017(folder: Path) -> Path:
    """Write train2017 with a test image, and val2017 with an image each of Karpathy's val and train splits."""
    files = {f"train2017/{number:012d}.jpg": jpeg(number) for number in (1, 42)}
    files |= {f"val2017/{number:012d}.jpg": jpeg(number) for number in (139, 5)}
    files["annotations/captions_train2017.json"] = annotations([1, 42])
    files["annotations/captions_val2017.json"] = annotations([139, 5])
    return source(folder, files)


def annotations(numbers: list[int]) -> bytes:
    """Build a `captions_*.json` in which the captions of the images alternate, because COCO's have no order."""
    notes = [{"image_id": n, "id": i, "caption": captions(n)[i]} for i in range(5) for n in numbers]
    images = [
        {"id": n, "file_name": f"{n:012d}.jpg", "flickr_url": f"http://farm1.staticflickr.com/2/{7000 + n}_ab12_z.jpg"}
        for n in numbers
    ]
    return json.dumps({"info": {}, "licenses": [], "images": images, "annotations": notes}).encode()


def source(folder: Path, files: dict[str, bytes]) -> Path:
    """Write a source with these files, as the rule `fetch_source` does."""
    for name, body in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(body)
    write_manifest(folder, {"name": folder.name})
    return folder


def prepare(source: Path, data: Path, name: str = "coco", split: str = "test", **settings: Any) -> int:
    """Run the job of the rule `prepare_split` with these settings, and return its exit status."""
    known = {
        "annotation_format": "karpathy",
        "id_namespace": None,
        "flickr_id_files": [],
        "allow_leak": False,
        "dataset": name,
        "split": split,
    }
    return run_job("prepare_split", settings=known | settings, source=source, out=data / name / split)

"""Small sources of the paper preset: real names, columns and layouts with a few images and random weights."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

from PIL import Image

from hubrows import BLUE, mmmu, ocrbench, realworldqa
from loopback import Files, Hub
from oracles import untrained
from slq.datasets.id_lists import hash_ids
from slq.synthetic.datasets import write_hub_files
from tinyclip import make_clip
from tinyllava import ENTRY as LLAVA

CAPTION = "on the left a red circle and on the right a blue square"
SPLITS = {"train": 8, "restval": 4, "val": 4, "test": 8}  # number of COCO images, by Karpathy's split
FLICKR = {"train": 2, "val": 2, "test": 8}
QUESTIONS = {
    "mmmu": [
        mmmu(1),
        mmmu(2, subject="Music", id="validation_Music_2", question="<image 1> or <image 2>?", image_2=BLUE),
    ],
    "realworldqa": [realworldqa(), realworldqa(answer="B")],
    "ocrbench": [ocrbench(), ocrbench(question="what is the number ?")],
}
STANDS_IN = {"InternVL3-1B": "mini-internvl", "InternVL3-8B": "mini-internvl"}
STANDS_IN |= {"Qwen3-VL-2B": "mini-qwen3vl", "Qwen3-VL-4B": "mini-qwen3vl"}
LLAVAS = ("E5-V", "VLM2Vec")


def folder_files(folder: Path) -> dict[str, bytes]:
    """Read every file below a folder, by path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def hub_of(config: dict[str, Any], folder: Path) -> Hub:
    """Build a hub with every repository in the table of sources; `folder` is a work folder."""
    hub = Hub()
    for name, source in config["sources"].items():
        for number, part in enumerate(source["parts"]):
            at = folder / name / str(number)
            if "model" in part:
                at.mkdir(parents=True)
                make_model(config, name, at)
                repository = f"models/{part['model']}"
                hub.repositories[repository] = [folder_files(at) | {"pytorch_model.bin": b"a pickle"}]
                if part["revision"] != "main":
                    hub.pinned[repository] = part["revision"]
            if "dataset" in part:
                write_hub_files(name, QUESTIONS[name], at)
                hub.repositories[f"datasets/{part['dataset']}"] = [folder_files(at) | {"README.md": b"a card"}]
    return hub


def make_model(config: dict[str, Any], name: str, at: Path) -> None:
    """Write a snapshot of the real class with random weights."""
    if name not in {*STANDS_IN, *LLAVAS}:
        make_clip(at)
        return
    stand_in = STANDS_IN.get(name, name)
    backbone = untrained(stand_in, LLAVA if name in LLAVAS else config["backbones"][stand_in], at)
    backbone.model.save_pretrained(at)
    backbone.tokenizer.save_pretrained(at)


def jpeg(number: int) -> bytes:
    """Draw a small image, a different one for each number."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), (37 * number % 256, 91 * number % 256, 53 * number % 256)).save(buffer, "JPEG")
    return buffer.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, body in members.items():
            archive.writestr(name, body)
    return buffer.getvalue()


def karpathy(name: str, splits: dict[str, int]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Build Karpathy's file of a dataset, and its images by path; COCO images are in two folders and have COCO ids."""
    images, pictures = [], {}
    for split in splits:
        for _ in range(splits[split]):
            number = len(images) + (1 if name == "coco" else 101)
            entry = {"imgid": len(images), "split": split, "sentids": [], "filename": f"{1000092795 + number}.jpg"}
            entry["sentences"] = [
                {"raw": f"{CAPTION} {number} {k}", "imgid": len(images), "sentid": 5 * len(images) + k, "tokens": []}
                for k in range(5)
            ]
            path = f"flickr30k-images/{entry['filename']}"
            if name == "coco":
                folder = "train2014" if split == "train" else "val2014"
                entry |= {"filepath": folder, "filename": f"COCO_{folder}_{number:012}.jpg", "cocoid": number}
                path = f"{folder}/{entry['filename']}"
            images.append(entry)
            pictures[path] = jpeg(number)
    return {"images": images, "dataset": name}, pictures


def annotations(images: list[dict[str, Any]], folder: str) -> bytes:
    """Build COCO's list of the images in a folder, with their Flickr URLs."""
    listed = [
        {"id": image["cocoid"], "file_name": image["filename"], "flickr_url": f"http://f.org/{9000 + number}_a_z.jpg"}
        for number, image in enumerate(images)
        if image["filepath"] == folder
    ]
    return json.dumps({"images": listed, "annotations": []}).encode()


def archives_of(config: dict[str, Any]) -> tuple[Files, dict[str, bytes]]:
    """Build a server of COCO's and Karpathy's archives, and the Flickr30K images that a user supplies."""
    coco, members = karpathy("coco", SPLITS)
    flickr, photos = karpathy("flickr30k", FLICKR)
    for folder in ("train2014", "val2014"):
        members[f"annotations/captions_{folder}.json"] = annotations(coco["images"], folder)
    members |= {"dataset_coco.json": json.dumps(coco).encode(), "dataset_flickr30k.json": json.dumps(flickr).encode()}
    files: dict[str, bytes] = {}
    for source in ("coco", "flickr30k"):
        for part in config["sources"][source]["parts"]:
            if "archive" in part:
                files["/" + part["archive"].partition("://")[2]] = zipped(
                    {name: body for name, body in members.items() if in_archive(name, part["files"][0])}
                )
    return Files(files=files), photos


def in_archive(name: str, wanted: str) -> bool:
    """Return whether a file belongs in an archive: one folder per archive, and all lists in Karpathy's."""
    return name.startswith("dataset_") if wanted.startswith("dataset_") else name.split("/")[0] == wanted.split("/")[0]


def in_small(config: dict[str, Any]) -> dict[str, Any]:
    """Build an overlay on config.yaml with small sizes and only the smallest backbone of each family."""
    parts = json.loads(json.dumps(config["sources"]["coco"]["parts"]))
    for part in parts:
        part.pop("hash", None)
    parts[0]["count"], parts[1]["count"] = SPLITS["train"], sum(SPLITS.values()) - SPLITS["train"]
    one = {"cpus": 1, "mem_gb": 3}
    preset = {
        "backbones": ["InternVL3-1B", "Qwen3-VL-2B"],
        "training": {"epochs": 1, "batch_size": 20, "micro_batch_size": 10, "num_workers": 0},
        "rerank": {"positive_answer": "true"},  # a word of the small tokenizers
        "evaluation": {"batch_size": 8, "generation_batch_size": 4, "max_new_tokens": 4},
        "resources": dict.fromkeys(("prepare", "train", "evaluate"), one),
    }
    coco, flickr = counts(karpathy("coco", SPLITS)[0]), counts(karpathy("flickr30k", FLICKR)[0])
    del coco["train"]["ids_sha256"]  # config.yaml has none either
    datasets: dict[str, Any] = {"coco": {"variants": {"1k": {"fold": 4}}, "splits": coco}}
    datasets["flickr30k"] = {"splits": {split: {"items": how["items"]} for split, how in flickr.items()}}
    datasets["flickr30k"]["splits"]["test"]["captions"] = flickr["test"]["captions"]
    questions = {"mmmu": {"items": 2, "options": 2, "types": 2}, "realworldqa": {"items": 2}}
    questions["ocrbench"] = {"items": 2, "types": 1}
    datasets |= {name: {"splits": {"test": how}} for name, how in questions.items()}
    datasets["mmmu"]["disputed"] = ["validation_Music_2"]
    return {"presets": {"paper": preset}, "datasets": datasets, "sources": {"coco": {"parts": parts}}}


def counts(listed: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Count the contents of each split of the small dataset, in the form that config.yaml has for the real one."""
    found: dict[str, dict[str, Any]] = {}
    for split, names in {"train": ("train", "restval"), "val": ("val",), "test": ("test",)}.items():
        images = [image for image in listed["images"] if image["split"] in names]
        ids = hash_ids(str(image.get("cocoid")) for image in images)
        found[split] = {"items": len(images), "captions": 5 * len(images), "ids_sha256": ids}
    return found

"""Images with near neighbours, drawn and photograph-like, in splits with planted copies."""

import io
import random
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from slq.datasets.splits import Split, read_split, write_split
from slq.synthetic.drawing import draw_scene
from slq.synthetic.scenes import select_scenes

WIDTH, HEIGHT = 320, 240
QUALITIES = {"JPEG": (30, 50, 75, 90), "WEBP": (50, 80)}
SCALES = (0.5, 0.75, 1.5, 2.0)


def drawn(count: int) -> list[Image.Image]:
    """Draw synthetic scenes in both styles; each differs from others in the colour, shape or place of one object."""
    scenes = select_scenes(7, 0, (count + 1) // 2)
    return [draw_scene(scene, style) for style in ("filled", "outlined") for scene in scenes][:count]


def photographic(count: int) -> list[Image.Image]:
    """Draw colour clouds with the falling spectrum of a photograph, each with four near neighbours."""
    rng, pictures = np.random.default_rng(0), []
    while len(pictures) < count:
        picture = clouds(rng)
        pictures += [picture, *neighbours(picture, rng)]
    return pictures[:count]


def clouds(rng: np.random.Generator) -> Image.Image:
    frequency = np.hypot(np.fft.fftfreq(HEIGHT)[:, None], np.fft.rfftfreq(WIDTH)[None])
    frequency[0, 0] = 1

    def waves() -> np.ndarray:
        return rng.normal(size=frequency.shape) + 1j * rng.normal(size=frequency.shape)

    shared, channels = waves(), []
    for _ in range(3):
        levels = np.fft.irfft2((shared + 0.5 * waves()) / frequency**1.2, s=(HEIGHT, WIDTH))
        channels.append((levels - levels.mean()) / levels.std() * 45 + rng.uniform(70, 180))
    return Image.fromarray(np.clip(np.stack(channels, -1), 0, 255).astype(np.uint8))


def neighbours(picture: Image.Image, rng: np.random.Generator) -> list[Image.Image]:
    """Return four near neighbours of an image: shifted, darker, with an added object, and mirrored."""
    x, y = int(rng.integers(WIDTH * 2 // 3)), int(rng.integers(HEIGHT * 2 // 3))
    more = picture.copy()
    colour = tuple(rng.integers(0, 256, 3).tolist())
    ImageDraw.Draw(more).ellipse((x, y, x + WIDTH // 3, y + HEIGHT // 3), fill=colour)
    aside = picture.crop((WIDTH // 20, HEIGHT // 20, WIDTH, HEIGHT)).resize((WIDTH, HEIGHT))
    return [
        aside,
        picture.point(lambda level: int(0.85 * level)),
        more,
        picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    ]


@dataclass
class Planted:
    """A training and a test split, and the ids of the planted test items by kind of copy."""

    train: Split
    test: Split
    plants: dict[str, set[str]] = field(default_factory=dict)


def plant(root: Path, pictures: list[Image.Image], plants: int) -> Planted:
    """Split the images in half for training and test, and plant `plants` copies of each kind in the test split."""
    rng = random.Random(0)
    rng.shuffle(pictures)
    half = len(pictures) // 2
    train = [save(root / "train", str(n), encoded(picture)) for n, picture in enumerate(pictures[:half])]
    test = [save(root / "test", f"t{n}", encoded(picture)) for n, picture in enumerate(pictures[half:])]
    found = Planted(None, None, {})
    for kind in ("ids", "bytes", "encoded", "scaled"):
        found.plants[kind] = set()
        for number in rng.sample(range(half), plants):
            name = str(number) if kind == "ids" and str(number) not in found.plants["ids"] else f"{kind}{number}"
            body = (root / "train" / train[number]["image"]).read_bytes()
            if kind == "encoded":
                style = rng.choice([*QUALITIES])
                body = encoded(pictures[number], style, rng.choice(QUALITIES[style]))
            if kind == "scaled":
                scale = rng.choice(SCALES)
                size = (round(scale * pictures[number].width), round(scale * pictures[number].height))
                body = encoded(pictures[number].resize(size))
            if kind == "ids":  # the same id, with another image
                body = encoded(clouds(np.random.default_rng(10**6 + number)))
            test.append(save(root / "test", name, body))
            found.plants[kind].add(name)
    for name, items in (("train", train), ("test", test)):
        write_split(root / "data" / "pictures" / name, "pictures", name, "retrieval", items, root=root / name)
    found.train, found.test = (read_split(root / "data", "pictures", name) for name in ("train", "test"))
    return found


def encoded(picture: Image.Image, style: str = "JPEG", quality: int = 92) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, style, quality=quality)
    return buffer.getvalue()


def save(folder: Path, name: str, body: bytes) -> dict:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(body)
    return {"id": name, "image": name, "captions": [f"picture {folder.name} {name}"]}

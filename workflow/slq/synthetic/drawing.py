"""Images of scenes and signs: 96 x 96 pixels, filled on white or outlined on grey, with deterministic jitter."""

import random
from collections.abc import Iterable

from PIL import Image, ImageDraw, ImageFont

from slq.synthetic.scenes import PLACES, Scene, SceneObject, Sign

IMAGE_SIZE = 96
SUPERSAMPLING = 4  # images are drawn larger by this factor and then reduced, so that edges are smooth
RGB = {
    "red": (220, 40, 40),
    "green": (40, 160, 60),
    "blue": (50, 80, 220),
    "yellow": (235, 200, 40),
    "purple": (150, 60, 180),
    "black": (30, 30, 30),
}
NEAR, MIDDLE, FAR = IMAGE_SIZE // 6, IMAGE_SIZE // 2, IMAGE_SIZE - IMAGE_SIZE // 6
CENTRES = {"left": (NEAR, MIDDLE), "right": (FAR, MIDDLE), "top": (MIDDLE, NEAR), "bottom": (MIDDLE, FAR)}
STYLES = {"filled": ((255, 255, 255), None), "outlined": ((225, 225, 225), 3)}  # background, line width in pixels


def draw_scene(scene: Scene, style: str) -> Image.Image:
    """Draw a scene on a grid of three by three fields, with its objects left and right, or at the top and bottom.

    The fields correspond to the image tokens of a backbone, so that each place has its own token. When two objects
    shared four tokens, backbones named the objects but did not distinguish their places (docs/log.md). The same scene
    and style give the same pixels.
    """
    return draw_objects(
        zip(PLACES[scene.relation], (scene.first, scene.second), strict=True), scene.content_hash, style
    )


def draw_objects(objects: Iterable[tuple[str, SceneObject]], seed: str, style: str) -> Image.Image:
    """Draw objects at their places, with small shifts and changes of size that depend on the seed."""
    background, line_width = STYLES[style]
    image = Image.new("RGB", (IMAGE_SIZE * SUPERSAMPLING, IMAGE_SIZE * SUPERSAMPLING), background)
    canvas = ImageDraw.Draw(image)
    rng = random.Random(seed)
    for place, scene_object in objects:
        x, y = CENTRES[place]
        radius = rng.randint(12, 14)
        draw_object(canvas, scene_object, x + rng.randint(-1, 1), y + rng.randint(-1, 1), radius, line_width)
    return image.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.LANCZOS)


def draw_sign(sign: Sign, style: str) -> Image.Image:
    """Draw a sign, with its lines one above the other; the two digits of a code are side by side and larger."""
    background, line_width = STYLES[style]
    image = Image.new("RGB", (IMAGE_SIZE * SUPERSAMPLING, IMAGE_SIZE * SUPERSAMPLING), background)
    canvas = ImageDraw.Draw(image)
    rng = random.Random(sign.content_hash)
    for number, line in enumerate(sign.lines, start=1):
        words, font_sizes = (line.text.split(), (54, 60)) if sign.kind == "code" else ([line.text], (40, 45))
        font = ImageFont.load_default(rng.randint(*font_sizes) * SUPERSAMPLING)
        colour = RGB[line.colour]
        y = IMAGE_SIZE * (2 * number - 1) // (2 * len(sign.lines))
        for place, word in enumerate(words, start=1):
            x = IMAGE_SIZE * (2 * place - 1) // (2 * len(words))
            at = ((x + rng.randint(-1, 1)) * SUPERSAMPLING, (y + rng.randint(-1, 1)) * SUPERSAMPLING)
            fill, width = (colour, 0) if line_width is None else (background, SUPERSAMPLING)
            canvas.text(at, word, fill=fill, font=font, anchor="mm", stroke_width=width, stroke_fill=colour)
    return image.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.LANCZOS)


def draw_object(
    canvas: ImageDraw.ImageDraw, scene_object: SceneObject, x: int, y: int, radius: int, line_width: int | None
) -> None:
    """Draw one object centred at (x, y), in pixels of the final image.

    `line_width` is the width of the outline; None fills the object.
    """
    x, y, r = x * SUPERSAMPLING, y * SUPERSAMPLING, radius * SUPERSAMPLING
    colour = RGB[scene_object.colour]
    fill, width = (colour, 0) if line_width is None else (None, line_width * SUPERSAMPLING)
    box = (x - r, y - r, x + r, y + r)
    third = r // 3
    if scene_object.shape == "ring":  # hollow in both styles; an outlined ring has two edges
        canvas.ellipse(box, outline=colour, width=(5 if line_width is None else line_width) * SUPERSAMPLING)
        if line_width is not None:
            canvas.ellipse((x - r // 2, y - r // 2, x + r // 2, y + r // 2), outline=colour, width=width)
    elif scene_object.shape == "circle":
        canvas.ellipse(box, fill=fill, outline=colour, width=width)
    else:
        canvas.polygon(POLYGONS[scene_object.shape](x, y, r, third), fill=fill, outline=colour, width=width or 1)


POLYGONS = {
    "square": lambda x, y, r, t: [(x - r, y - r), (x + r, y - r), (x + r, y + r), (x - r, y + r)],
    "triangle": lambda x, y, r, t: [(x, y - r), (x + r, y + r), (x - r, y + r)],
    "diamond": lambda x, y, r, t: [(x, y - r), (x + r, y), (x, y + r), (x - r, y)],
    "cross": lambda x, y, r, t: [
        *((x - t, y - r), (x + t, y - r), (x + t, y - t), (x + r, y - t), (x + r, y + t), (x + t, y + t)),
        *((x + t, y + r), (x - t, y + r), (x - t, y + t), (x - r, y + t), (x - r, y - t), (x - t, y - t)),
    ],
}

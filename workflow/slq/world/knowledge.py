"""What stands for a shape or a color without naming it: captions that ask for knowledge, as KARR's queries do."""

from slq.world.scenes import Scene, Thing

# Each word of the world by two phrases without any of its words. {shape} and {colour} of a thing come from here.
SHAPES_BY = {
    "circle": ("the shape of a coin", "the shape of a full moon"),
    "square": ("the shape of a chess board", "the shape of a floor tile"),
    "triangle": ("the shape with three sides", "the shape of a pyramid"),
    "diamond": ("the shape of a kite", "the shape of a baseball field"),
    "cross": ("the shape of a plus sign", "the shape on an ambulance"),
    "ring": ("the shape of a donut", "the shape with a hole"),
}
COLOURS_BY = {
    "red": ("the color of blood", "the color of ripe tomatoes"),
    "green": ("the color of grass", "the color of spinach"),
    "blue": ("the color of a clear sky", "the color of deep water"),
    "yellow": ("the color of lemons", "the color of bananas"),
    "purple": ("the color of plums", "the color of lavender"),
    "black": ("the color of coal", "the color of the night"),
}
# A caption for each phrase of a word. {a} and {b} are the things, first and second.
TEMPLATES = {
    "beside": ("{a} to the left of {b}", "on the right there is {b} and on the left {a}"),
    "over": ("{a} above {b}", "at the bottom there is {b} and at the top {a}"),
}


def knowledge_captions(scene: Scene) -> list[str]:
    """The two captions of a scene that name none of its shapes and colors; each tells it from every other."""
    return [
        template.format(a=described(scene.first, number), b=described(scene.second, number))
        for number, template in enumerate(TEMPLATES[scene.direction])
    ]


def described(thing: Thing, number: int) -> str:
    """A thing by the first or the second phrase of its shape and color."""
    return f"{SHAPES_BY[thing.shape][number]} in {COLOURS_BY[thing.colour][number]}"


def phrases() -> list[str]:
    """Everything that stands for a word."""
    return [phrase for table in (SHAPES_BY, COLOURS_BY) for pair in table.values() for phrase in pair]

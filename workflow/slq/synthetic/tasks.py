"""What a mini backbone learns before it is frozen: sentences, and answers about pictures, texts and signs."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from slq.datasets.questions import choice_text, lettered, open_text
from slq.models.backbone import Backbone
from slq.models.family import Pixels
from slq.models.prefix import Encoded, Part, encode
from slq.synthetic.language import VERDICTS, Question, captions, knowledge_captions, questions, where, written
from slq.synthetic.questions import LETTER_ONLY, LETTERS, MATCH, PICTURES, WORD_ONLY, in_picture, options_with
from slq.synthetic.scenes import Scene, Sign, Thing, altered

# Shares of the tasks, before and after a part SENTENCES of the steps. Sentences first: each teaches ten words and a
# question one.
SENTENCES = 0.35
SHARES = {
    "describe": (0.40, 0.06),
    "rephrase": (0.07, 0.05),
    "know": (0.03, 0.02),
    "point": (0.08, 0.05),
    "look": (0.27, 0.32),
    "read": (0.05, 0.05),
    "judge": (0.02, 0.13),
    "choose": (0.0, 0.11),
    "compare": (0.0, 0.10),
    "read_sign": (0.08, 0.11),
}
TURNS = 3  # questions about the same content, one after another: each answer is learned for little more
JUDGED = 4  # captions judged about the same picture: a verdict teaches one bit
CHOICES = 2  # the same of questions with options, which are long
WHERE, OTHERS = 3, 2  # how often a question for a place is asked against any other: places are learned last


@dataclass(frozen=True)
class Talk:
    """Content, and what is asked about it with the answers, turn by turn; "" asks nothing."""

    content: tuple[Part, ...]
    turns: Sequence[tuple[str, str]]


class Lessons:
    """Batches of the tasks over a training split's scenes, single things at their places, and signs."""

    def __init__(
        self,
        backbone: Backbone,
        scenes: Sequence[tuple[Scene, Pixels]],
        alone: Sequence[tuple[Thing, str, Pixels]],
        signs: Sequence[tuple[Sign, Pixels]],
        draw: random.Random,
    ) -> None:
        self.backbone, self.scenes, self.alone, self.signs, self.draw = backbone, scenes, alone, signs, draw
        self.turns: dict[tuple[str | int, ...], list[int]] = {}
        self.tasks: dict[str, Callable[[], Talk]] = {name: getattr(self, name) for name in SHARES}

    def describe(self) -> Talk:
        """A picture, and any of its captions.

        They begin with either thing and with its colour or its shape, so what follows must be found in the picture by
        what was said: what questions ask for. The canonical caption alone teaches an order of places.
        """
        scene, pixels = self.draw.choice(self.scenes)
        return Talk((pixels,), [("", self.draw.choice(captions(scene)))])

    def rephrase(self) -> Talk:
        """Any caption, and the canonical one: where text and image prefixes meet."""
        scene, _ = self.draw.choice(self.scenes)
        return Talk((self.draw.choice(captions(scene)),), [("", captions(scene)[0])])

    def know(self) -> Talk:
        """A caption that stands for its words by knowledge, and the canonical one."""
        scene, _ = self.draw.choice(self.scenes)
        return Talk((self.draw.choice(knowledge_captions(scene)),), [("", captions(scene)[0])])

    def point(self) -> Talk:
        """Where the only thing of a picture is: the words for places, before one of two things has to be found."""
        thing, place, pixels = self.draw.choice(self.alone)
        return Talk((pixels,), [self.ask(where(thing, place))])

    def look(self) -> Talk:
        """Questions about a picture."""
        scene, pixels = self.draw.choice(self.scenes)
        return Talk((pixels,), [self.ask(question) for question in self.some(scene, TURNS)])

    def read(self) -> Talk:
        """Questions about a caption."""
        scene, _ = self.draw.choice(self.scenes)
        caption = self.draw.choice(captions(scene))
        return Talk((caption,), [self.ask(question) for question in self.some(scene, TURNS)])

    def judge(self) -> Talk:
        """Whether captions belong to a picture, as re-ranking asks it; half do.

        Of those that do not, a third are of any scene, which is seen sooner, and the others of one that differs in one
        thing.
        """
        scene, pixels = self.draw.choice(self.scenes)
        asked = []
        for _ in range(JUDGED):
            said = self.draw.choices((scene, altered(scene, self.draw), self.draw.choice(self.scenes)[0]), (3, 2, 1))[0]
            caption = self.draw.choice(captions(said))
            asked.append((f"{caption}\n{MATCH}", VERDICTS[said != scene]))
        return Talk((pixels,), asked)

    def choose(self) -> Talk:
        """Questions about a picture, with options."""
        scene, pixels = self.draw.choice(self.scenes)
        return Talk((pixels,), [self.ask_choice(question) for question in self.some(scene, CHOICES)])

    def compare(self) -> Talk:
        """Questions about either of two pictures."""
        shown = [self.draw.choice(self.scenes) for _ in PICTURES]
        asked = []
        for _ in range(TURNS):
            number = self.draw.randrange(len(PICTURES))
            question = self.draw.choice([q for q in questions(shown[number][0]) if q.topic != "where"])
            asked.append((open_text(in_picture(question, number)), question.answer))
        return Talk(tuple(pixels for _, pixels in shown), asked)

    def read_sign(self) -> Talk:
        """What is written on a sign; of two lines either may be asked first, or the turn alone would tell the line."""
        sign, pixels = self.draw.choice(self.signs)
        asked = written(sign)
        self.draw.shuffle(asked)
        return Talk((pixels,), [(question.text, question.answer) for question in asked])

    def some(self, scene: Scene, count: int) -> list[Question]:
        """Questions about a scene."""
        asked = questions(scene)
        often = [WHERE if question.topic == "where" else OTHERS for question in asked]
        return self.draw.sample(asked, k=count, counts=often)

    def ask(self, question: Question) -> tuple[str, str]:
        """An open question in one of the ways that tests ask it."""
        ways = (open_text(question.text), f"{question.text}\n{WORD_ONLY}")
        return self.draw.choice(ways), question.answer

    def ask_choice(self, question: Question) -> tuple[str, str]:
        """A question with four options in one of the ways that tests ask it; the answer is the option's word.

        To find its letter takes more steps than there are, so base names the option, as larger models often do.
        """
        options = options_with(question.answer, self.draw.randrange(len(LETTERS)), self.draw)
        ways = (choice_text(question.text, options), f"{question.text}\n\n{lettered(options)}\n{LETTER_ONLY}")
        return self.draw.choice(ways), question.answer

    def batch(self, size: int, done: float) -> list[tuple[Encoded, list[bool]]]:
        """`size` talks when a part `done` of the steps is, each with its tokens and which of them are answers."""
        shares = [before if done < SENTENCES else after for before, after in SHARES.values()]
        tasks = self.draw.choices(list(SHARES), shares, k=size)
        return [self.encode(self.tasks[task]()) for task in tasks]

    def encode(self, talk: Talk) -> tuple[Encoded, list[bool]]:
        """The turns after one another, each answer ended by the end of its turn."""
        ids: list[int] = []
        is_answer: list[bool] = []
        images: tuple[Pixels, ...] = ()
        for number, (text, answer) in enumerate(talk.turns):
            asked = self.encode_turn((*(talk.content if number == 0 else ()), *filter(None, [text])))
            said = self.backbone.tokenizer(f"{answer} <|im_end|>", add_special_tokens=False)["input_ids"]
            ids += asked.ids + said
            is_answer += [False] * len(asked.ids) + [True] * len(said)
            images += asked.images
        return Encoded(ids, images), is_answer

    def encode_turn(self, parts: tuple[Part, ...]) -> Encoded:
        """What is asked, through the chat template; the tokens of turns that differ in pictures alone are kept."""
        key = tuple(part.tokens if isinstance(part, Pixels) else part for part in parts)
        if key not in self.turns:
            self.turns[key] = encode(self.backbone, parts).ids
        return Encoded(self.turns[key], tuple(part for part in parts if isinstance(part, Pixels)))

"""Pre-training tasks of a mini backbone before it is frozen: captions, and answers about pictures, texts and signs."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from slq.datasets.questions import format_choice_question, format_open_question, format_options
from slq.models.backbone import Backbone
from slq.models.family import ProcessedImage
from slq.models.prefix import TokenizedMessage, tokenize_message
from slq.models.turn import ContentPart
from slq.synthetic.benchmark_rows import (
    IMAGE_NAMES,
    LETTER_ONLY_REQUEST,
    MATCH_REQUEST,
    OPTION_LETTERS,
    WORD_ONLY_REQUEST,
    make_options,
    name_image_in_question,
)
from slq.synthetic.language import (
    MATCH_ANSWERS,
    Question,
    knowledge_captions,
    location_question,
    scene_captions,
    scene_questions,
    sign_questions,
)
from slq.synthetic.scenes import Scene, SceneObject, Sign, alter_scene

# Share of each task, before and after the first TEXT_PHASE_SHARE of the steps. Captions dominate first: a caption
# teaches ten words and a question one.
TEXT_PHASE_SHARE = 0.35
TASK_SHARES = {
    "describe_image": (0.40, 0.06),
    "paraphrase_caption": (0.07, 0.05),
    "decode_knowledge_caption": (0.03, 0.02),
    "locate_object": (0.08, 0.05),
    "answer_about_image": (0.27, 0.32),
    "answer_about_caption": (0.05, 0.05),
    "judge_caption_match": (0.02, 0.13),
    "answer_multiple_choice": (0.0, 0.11),
    "compare_images": (0.0, 0.10),
    "read_sign": (0.08, 0.11),
}
QUESTIONS_PER_CONTENT = 3  # questions per conversation: each further answer adds little computation
CAPTIONS_PER_IMAGE = 4  # captions judged per picture: a true or false answer teaches one bit
CHOICE_QUESTIONS_PER_IMAGE = 2  # questions with options per picture: these are long
# Sampling weights of a question for a place and of any other question: places are learned last.
LOCATION_WEIGHT, OTHER_WEIGHT = 3, 2


@dataclass(frozen=True)
class Conversation:
    """Some content and a conversation about it.

    Attributes:
        content: pictures or text that the first turn begins with.
        turns: pairs of a request and its answer; an empty request adds no text to the prompt.
    """

    content: tuple[ContentPart, ...]
    turns: Sequence[tuple[str, str]]


class PretrainingTasks:
    """Batches of the tasks over a training split's scenes, pictures of single objects at their places, and signs."""

    def __init__(
        self,
        backbone: Backbone,
        scenes: Sequence[tuple[Scene, ProcessedImage]],
        single_objects: Sequence[tuple[SceneObject, str, ProcessedImage]],
        signs: Sequence[tuple[Sign, ProcessedImage]],
        rng: random.Random,
    ) -> None:
        self.backbone, self.rng = backbone, rng
        self.scenes, self.single_objects, self.signs = scenes, single_objects, signs
        self.token_ids_by_turn: dict[tuple[object, ...], list[int]] = {}
        self.tasks: dict[str, Callable[[], Conversation]] = {name: getattr(self, name) for name in TASK_SHARES}

    def describe_image(self) -> Conversation:
        """Build a conversation from a picture and any of its captions as the answer.

        Captions begin with either object, and with its colour or its shape. What follows must therefore be found in the
        picture by what the caption has named so far, which is the skill that questions need. The canonical caption
        alone would only teach an order of places.
        """
        scene, image = self.rng.choice(self.scenes)
        return Conversation((image,), [("", self.rng.choice(scene_captions(scene)))])

    def paraphrase_caption(self) -> Conversation:
        """Build a conversation from any caption, with the canonical one as the answer.

        It brings the prefixes of texts and images together.
        """
        scene, _ = self.rng.choice(self.scenes)
        return Conversation((self.rng.choice(scene_captions(scene)),), [("", scene_captions(scene)[0])])

    def decode_knowledge_caption(self) -> Conversation:
        """Build a conversation from a caption that paraphrases shapes and colours; the canonical one is the answer."""
        scene, _ = self.rng.choice(self.scenes)
        return Conversation((self.rng.choice(knowledge_captions(scene)),), [("", scene_captions(scene)[0])])

    def locate_object(self) -> Conversation:
        """Build a conversation that asks for the place of a picture's only object.

        It teaches the words for places before one of two objects has to be found.
        """
        scene_object, place, image = self.rng.choice(self.single_objects)
        return Conversation((image,), [self.make_open_turn(location_question(scene_object, place))])

    def answer_about_image(self) -> Conversation:
        """Build a conversation of questions about a picture."""
        scene, image = self.rng.choice(self.scenes)
        return self.make_conversation(image, scene, QUESTIONS_PER_CONTENT, self.make_open_turn)

    def answer_about_caption(self) -> Conversation:
        """Build a conversation of questions about a caption."""
        scene, _ = self.rng.choice(self.scenes)
        caption = self.rng.choice(scene_captions(scene))
        return self.make_conversation(caption, scene, QUESTIONS_PER_CONTENT, self.make_open_turn)

    def judge_caption_match(self) -> Conversation:
        """Build a conversation that asks, in re-ranking's words, whether captions belong to a picture; half of them do.

        Of the captions that do not, one third describe any scene, which is easier to tell, and two thirds describe a
        scene that differs in one way.
        """
        scene, image = self.rng.choice(self.scenes)
        turns = []
        for _ in range(CAPTIONS_PER_IMAGE):
            captioned_scene = self.rng.choices(
                (scene, alter_scene(scene, self.rng), self.rng.choice(self.scenes)[0]), (3, 2, 1)
            )[0]
            caption = self.rng.choice(scene_captions(captioned_scene))
            turns.append((f"{caption}\n{MATCH_REQUEST}", MATCH_ANSWERS[captioned_scene != scene]))
        return Conversation((image,), turns)

    def answer_multiple_choice(self) -> Conversation:
        """Build a conversation of questions with options about a picture."""
        scene, image = self.rng.choice(self.scenes)
        return self.make_conversation(image, scene, CHOICE_QUESTIONS_PER_IMAGE, self.make_choice_turn)

    def compare_images(self) -> Conversation:
        """Build a conversation of questions about either of two pictures."""
        samples = [self.rng.choice(self.scenes) for _ in IMAGE_NAMES]
        turns = []
        for _ in range(QUESTIONS_PER_CONTENT):
            number = self.rng.randrange(len(IMAGE_NAMES))
            question = self.rng.choice([q for q in scene_questions(samples[number][0]) if q.topic != "where"])
            turns.append((format_open_question(name_image_in_question(question, number)), question.answer))
        return Conversation(tuple(image for _, image in samples), turns)

    def read_sign(self) -> Conversation:
        """Build a conversation of questions about what is written on a sign.

        The questions about two lines come in random order: otherwise the turn alone would tell the line.
        """
        sign, image = self.rng.choice(self.signs)
        questions = sign_questions(sign)
        self.rng.shuffle(questions)
        return Conversation((image,), [(question.text, question.answer) for question in questions])

    def make_conversation(
        self, content: ContentPart, scene: Scene, count: int, make_turn: Callable[[Question], tuple[str, str]]
    ) -> Conversation:
        """Build a conversation of `count` questions about a scene, which `content` shows; places are asked for more."""
        candidates = scene_questions(scene)
        weights = [LOCATION_WEIGHT if question.topic == "where" else OTHER_WEIGHT for question in candidates]
        questions = self.rng.sample(candidates, k=count, counts=weights)
        return Conversation((content,), [make_turn(question) for question in questions])

    def make_open_turn(self, question: Question) -> tuple[str, str]:
        """Make a turn of an open question, in one of the wordings that tests use."""
        prompts = (format_open_question(question.text), f"{question.text}\n{WORD_ONLY_REQUEST}")
        return self.rng.choice(prompts), question.answer

    def make_choice_turn(self, question: Question) -> tuple[str, str]:
        """Make a turn of a question with four options, in one of the wordings that tests use.

        The answer is the option's word. Learning to find its letter takes more steps than there are, so mini
        backbones name the option, as larger models often do.
        """
        options = make_options(question.answer, self.rng.randrange(len(OPTION_LETTERS)), self.rng)
        prompts = (
            format_choice_question(question.text, options),
            f"{question.text}\n\n{format_options(options)}\n{LETTER_ONLY_REQUEST}",
        )
        return self.rng.choice(prompts), question.answer

    def sample_batch(self, size: int, progress: float) -> list[tuple[TokenizedMessage, list[bool]]]:
        """Sample `size` conversations, each with its tokens and a mask of the tokens that belong to answers.

        `progress` is the fraction of the steps done, by which the shares of the tasks change.
        """
        shares = [before if progress < TEXT_PHASE_SHARE else after for before, after in TASK_SHARES.values()]
        tasks = self.rng.choices(list(TASK_SHARES), shares, k=size)
        return [self.tokenize_conversation(self.tasks[task]()) for task in tasks]

    def tokenize_conversation(self, conversation: Conversation) -> tuple[TokenizedMessage, list[bool]]:
        """Tokenize a conversation: its turns one after another, each answer followed by the end-of-turn token."""
        ids: list[int] = []
        is_answer: list[bool] = []
        images: tuple[ProcessedImage, ...] = ()
        for number, (text, answer) in enumerate(conversation.turns):
            prompt = self.tokenize_turn((*(conversation.content if number == 0 else ()), *filter(None, [text])))
            answer_ids = self.backbone.tokenizer(f"{answer} <|im_end|>", add_special_tokens=False)["input_ids"]
            ids += prompt.ids + answer_ids
            is_answer += [False] * len(prompt.ids) + [True] * len(answer_ids)
            images += prompt.images
        return TokenizedMessage(ids, images), is_answer

    def tokenize_turn(self, parts: tuple[ContentPart, ...]) -> TokenizedMessage:
        """Tokenize the request of a turn through the chat template.

        The tokens are cached for turns that differ in pictures alone.
        """
        key = tuple(part.num_tokens if isinstance(part, ProcessedImage) else part for part in parts)
        if key not in self.token_ids_by_turn:
            self.token_ids_by_turn[key] = tokenize_message(self.backbone, parts).ids
        return TokenizedMessage(
            self.token_ids_by_turn[key], tuple(part for part in parts if isinstance(part, ProcessedImage))
        )

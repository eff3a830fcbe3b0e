"""Pre-training tasks of a mini backbone: captioning, and answering questions about images, captions and signs."""

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

# Share of each task, during and after the first TEXT_PHASE_SHARE of the steps. Captions dominate at first, because a
# caption has about ten words to learn from, and an answer one.
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
QUESTIONS_PER_CONTENT = 3  # questions per conversation; each further question adds little computation
CAPTIONS_PER_IMAGE = 4  # captions judged per image; several, because a true or false answer has only one bit
CHOICE_QUESTIONS_PER_IMAGE = 2  # questions with options per image; few, because they are long
# Sampling weights of a question about a place and of any other question. Places are learned last.
LOCATION_WEIGHT, OTHER_WEIGHT = 3, 2


@dataclass(frozen=True)
class Conversation:
    """Conversation about images or a text.

    Attributes:
        content: images or text at the beginning of the first turn.
        turns: pairs of a request and its answer; an empty request adds no text to the prompt.
    """

    content: tuple[ContentPart, ...]
    turns: Sequence[tuple[str, str]]


class PretrainingTasks:
    """Sampler of pre-training batches from scenes of a training split, single objects at places, and signs."""

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
        """Build a conversation with an image, and a random caption of it as the answer.

        Captions begin with either object, and with its colour or its shape. To continue a caption, the model must find
        the other attributes in the image from those named so far, which is also needed to answer questions. The
        canonical caption alone would only teach a fixed order of places.
        """
        scene, image = self.rng.choice(self.scenes)
        return Conversation((image,), [("", self.rng.choice(scene_captions(scene)))])

    def paraphrase_caption(self) -> Conversation:
        """Build a conversation with a random caption, and the canonical caption as the answer.

        This task aligns the prefixes of texts with those of images.
        """
        scene, _ = self.rng.choice(self.scenes)
        return Conversation((self.rng.choice(scene_captions(scene)),), [("", scene_captions(scene)[0])])

    def decode_knowledge_caption(self) -> Conversation:
        """Build a conversation with a caption without names of shapes and colours; the answer is the canonical one."""
        scene, _ = self.rng.choice(self.scenes)
        return Conversation((self.rng.choice(knowledge_captions(scene)),), [("", scene_captions(scene)[0])])

    def locate_object(self) -> Conversation:
        """Build a conversation with the image of one object and a question about its place.

        This task teaches the words for places before the model has to find one of two objects.
        """
        scene_object, place, image = self.rng.choice(self.single_objects)
        return Conversation((image,), [self.make_open_turn(location_question(scene_object, place))])

    def answer_about_image(self) -> Conversation:
        """Build a conversation of open questions about an image."""
        scene, image = self.rng.choice(self.scenes)
        return self.make_conversation(image, scene, QUESTIONS_PER_CONTENT, self.make_open_turn)

    def answer_about_caption(self) -> Conversation:
        """Build a conversation of open questions about a caption."""
        scene, _ = self.rng.choice(self.scenes)
        caption = self.rng.choice(scene_captions(scene))
        return self.make_conversation(caption, scene, QUESTIONS_PER_CONTENT, self.make_open_turn)

    def judge_caption_match(self) -> Conversation:
        """Build a conversation that asks whether captions match an image, with the prompt of re-ranking.

        Half of the captions match. A third of the captions describe a scene with one change, and a sixth describe a
        random scene, which is easier to reject.
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
        """Build a conversation of questions with options about an image."""
        scene, image = self.rng.choice(self.scenes)
        return self.make_conversation(image, scene, CHOICE_QUESTIONS_PER_IMAGE, self.make_choice_turn)

    def compare_images(self) -> Conversation:
        """Build a conversation of questions about one or the other of two images."""
        samples = [self.rng.choice(self.scenes) for _ in IMAGE_NAMES]
        turns = []
        for _ in range(QUESTIONS_PER_CONTENT):
            number = self.rng.randrange(len(IMAGE_NAMES))
            question = self.rng.choice([q for q in scene_questions(samples[number][0]) if q.topic != "where"])
            turns.append((format_open_question(name_image_in_question(question, number)), question.answer))
        return Conversation(tuple(image for _, image in samples), turns)

    def read_sign(self) -> Conversation:
        """Build a conversation of questions about the text on a sign.

        The questions about two lines are in random order, so that the number of the turn does not reveal the line.
        """
        sign, image = self.rng.choice(self.signs)
        questions = sign_questions(sign)
        self.rng.shuffle(questions)
        return Conversation((image,), [(question.text, question.answer) for question in questions])

    def make_conversation(
        self, content: ContentPart, scene: Scene, count: int, make_turn: Callable[[Question], tuple[str, str]]
    ) -> Conversation:
        """Build a conversation of `count` questions about the scene in `content`; places have a higher weight."""
        candidates = scene_questions(scene)
        weights = [LOCATION_WEIGHT if question.topic == "where" else OTHER_WEIGHT for question in candidates]
        questions = self.rng.sample(candidates, k=count, counts=weights)
        return Conversation((content,), [make_turn(question) for question in questions])

    def make_open_turn(self, question: Question) -> tuple[str, str]:
        """Make a turn with an open question, in a wording of one of the benchmarks."""
        prompts = (format_open_question(question.text), f"{question.text}\n{WORD_ONLY_REQUEST}")
        return self.rng.choice(prompts), question.answer

    def make_choice_turn(self, question: Question) -> tuple[str, str]:
        """Make a turn with a question with four options, in a wording of one of the benchmarks.

        The answer is the word of the option, not its letter. Mini backbones would need more training steps to learn
        letters; larger models also often answer with the word.
        """
        options = make_options(question.answer, self.rng.randrange(len(OPTION_LETTERS)), self.rng)
        prompts = (
            format_choice_question(question.text, options),
            f"{question.text}\n\n{format_options(options)}\n{LETTER_ONLY_REQUEST}",
        )
        return self.rng.choice(prompts), question.answer

    def sample_batch(self, size: int, progress: float) -> list[tuple[TokenizedMessage, list[bool]]]:
        """Sample `size` conversations; return the tokens of each, and a mask of the answers' tokens.

        `progress` is the fraction of finished steps; the shares of the tasks depend on it.
        """
        shares = [before if progress < TEXT_PHASE_SHARE else after for before, after in TASK_SHARES.values()]
        tasks = self.rng.choices(list(TASK_SHARES), shares, k=size)
        return [self.tokenize_conversation(self.tasks[task]()) for task in tasks]

    def tokenize_conversation(self, conversation: Conversation) -> tuple[TokenizedMessage, list[bool]]:
        """Tokenise a conversation: its turns in order, each answer followed by the end-of-turn token."""
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
        """Tokenise the request of a turn with the chat template.

        The tokens are cached and reused for turns that differ only in their images.
        """
        key = tuple(part.num_tokens if isinstance(part, ProcessedImage) else part for part in parts)
        if key not in self.token_ids_by_turn:
            self.token_ids_by_turn[key] = tokenize_message(self.backbone, parts).ids
        return TokenizedMessage(
            self.token_ids_by_turn[key], tuple(part for part in parts if isinstance(part, ProcessedImage))
        )

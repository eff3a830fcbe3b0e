"""LLaVA-NeXT's adapter compared with transformers' own processor and full forward, on a tiny random model."""

from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from tokenizers.processors import TemplateProcessing
from torch.nn.functional import normalize
from transformers import LlavaNextProcessor
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

from oracles import CASES, RED, TALL, WIDE, compare_with_the_whole_sequence, messages, sharpen, untrained
from slq.baselines.mllm_encoder import MllmEncoder
from slq.common.errors import SlqError
from slq.models.family import FEATURES, ProcessedImage
from slq.models.prefix import TokenizedMessage, collate, tokenize_message
from slq.models.retriever import LatentQueryRetriever, initial_queries
from tinyllava import ENTRY

CONFIG = yaml.safe_load((Path(__file__).parents[3] / "config.yaml").read_text())
# The templates of E5-V and VLM2Vec, in words that the tiny tokenizer knows.
TEMPLATES = {"e5v": "<|im_start|> user {turn} <|im_end|> <|im_start|> assistant", "vlm2vec": "{turn}"}
WORDS = {"image": "{image} what is in the picture", "text": "{text} where is the word"}
TEXTS = ["a red circle", "on the left a red circle and on the right a blue square"]
SIZES = [(64, 64), (90, 61), (61, 90), (200, 31), (31, 200), (57, 56), (640, 480), (480, 640), (333, 500), (1, 3)]


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    """Untrained, sharpened model whose tokenizer puts a token before every text, as LLaVA-NeXT's does."""
    made = sharpen(untrained("tiny-llava-next", ENTRY, tmp_path_factory.mktemp("llava-next")))
    start = ("<|im_start|>", made.tokenizer.convert_tokens_to_ids("<|im_start|>"))
    made.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{start[0]} $A", special_tokens=[start]
    )
    return made


@pytest.fixture(scope="module")
def processor(backbone):
    """The model's own processor, which expands the image tokens itself."""
    return LlavaNextProcessor(
        LlavaNextImageProcessorPil(**ENTRY["pretrain"]["image_processor"]),
        backbone.tokenizer,
        patch_size=7,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )


def noisy(size, seed=0):
    """A picture of noise."""
    pixels = torch.randint(0, 256, (size[1], size[0], 3), generator=torch.Generator().manual_seed(seed))
    return Image.fromarray(pixels.to(torch.uint8).numpy())


def stock(backbone, processor, **inputs):
    """Unit vectors of the last token: the stock forward of the whole model on its own processor's inputs."""
    batch = processor(**inputs, return_tensors="pt", padding=True)
    with torch.no_grad():
        states = backbone.model(**batch, output_hidden_states=True).hidden_states[-1]
    return normalize(states[:, -1], dim=-1)


@pytest.mark.parametrize("size", SIZES)
def test_an_image_has_as_many_tokens_as_the_model_makes_of_it(backbone, processor, size):
    image = noisy(size)
    pixels = backbone.family.process(image)
    ids = processor(text="<image>", images=image, return_tensors="pt")["input_ids"]
    features = backbone.inner.get_image_features(**pixels.tensors, return_dict=True).pooler_output
    assert pixels.num_tokens == (ids == backbone.model.config.image_token_id).sum() == len(features[0])


def test_tokens_of_the_released_sizes(backbone, monkeypatch):
    """336 pixels per tile and patches of 14: the counts of the released models' processor for photographs."""
    config = type(backbone.model.config)()
    monkeypatch.setattr(backbone.family, "config", config)
    own = LlavaNextProcessor(LlavaNextImageProcessorPil(), backbone.tokenizer, patch_size=14)
    own.vision_feature_select_strategy, own.num_additional_image_tokens = "default", 1
    own.image_processor.size = {"shortest_edge": 336}
    sizes = [(480, 640), (640, 480), (427, 640), (500, 333), (1344, 1344), (333, 500), (375, 500), (100, 900)]
    expected = own._get_num_multimodal_tokens(image_sizes=sizes)["num_image_tokens"]
    assert [backbone.family.count_image_tokens(*size) for size in sizes] == expected


@pytest.mark.parametrize("name", TEMPLATES)
def test_vectors_are_those_of_transformers_own_processor_and_forward(backbone, processor, name):
    """Pictures are portrait and landscape, alone and batched; texts are compared too."""
    encoder = MllmEncoder(backbone, WORDS, template=TEMPLATES[name])
    images = [noisy(size, seed) for seed, size in enumerate([(90, 61), (61, 90), (64, 64), (200, 31)])]
    turn = TEMPLATES[name].replace("{turn}", WORDS["image"].replace("{image}", "<image>"))
    turns = [TEMPLATES[name].replace("{turn}", WORDS["text"].replace("{text}", text)) for text in TEXTS]
    found = encoder.encode_images(images)
    expected = stock(backbone, processor, images=images, text=[turn] * len(images))
    assert (found - expected).abs().max() < 1e-5
    assert (encoder.encode_texts(TEXTS) - stock(backbone, processor, text=turns)).abs().max() < 1e-5
    for image, vector in zip(images, found, strict=True):
        alone = encoder.encode_images([image])[0]
        assert (alone - stock(backbone, processor, images=image, text=turn)[0]).abs().max() < 1e-5
        assert (alone - vector).abs().max() < 1e-5
    gaps = (found @ found.T).fill_diagonal_(-1)
    assert gaps.max() < 0.9999  # the oracle tells images apart


def test_images_may_be_stretched_before_they_are_cut(backbone, processor):
    """VLM2Vec's own evaluation first makes every image a square."""
    encoder = MllmEncoder(backbone, WORDS, template="{turn}", images={"square": 112})
    image = noisy((90, 61))
    turn = WORDS["image"].replace("{image}", "<image>")
    expected = stock(backbone, processor, images=image.resize((112, 112)), text=turn)
    assert (encoder.encode_images([image]) - expected).abs().max() < 1e-5
    assert (encoder.encode_images([image]) - stock(backbone, processor, images=image, text=turn)).abs().max() > 1e-3


def test_limits_that_the_family_does_not_take_are_refused(backbone):
    with pytest.raises(SlqError, match="max_tiles, which LlavaNext does not accept; accepted keys: square"):
        MllmEncoder(backbone, WORDS, images={"max_tiles": 4})


@pytest.mark.parametrize("case", CASES)
def test_two_calls_equal_the_whole_sequence(backbone, case):
    queries = initial_queries(4, backbone.hidden_size, "normal", torch.Generator().manual_seed(0))
    batch = [tokenize_message(backbone, parts) for parts in messages(backbone, case)]
    compare_with_the_whole_sequence(LatentQueryRetriever(backbone, queries), batch)


def test_kept_features_of_several_images_give_the_same_states(backbone):
    images = [backbone.family.process(image) for image in (RED, WIDE, TALL)]
    looked = [backbone.family.encode_vision(backbone.inner, image.tensors) for image in images]
    kept = [ProcessedImage({FEATURES: one}, len(one)) for one in looked]
    assert [len(one) for one in looked] == [image.num_tokens for image in images]
    states = [
        backbone.inner(**collate(backbone, [tokenize_message(backbone, (one,)) for one in batch])).last_hidden_state
        for batch in (images, kept)
    ]
    assert (states[0] - states[1]).abs().max() < 1e-5


def test_noise_is_an_image_of_about_so_many_pixels(backbone):
    noise = backbone.family.random_image(3072, torch.Generator().manual_seed(0))
    assert noise.tensors["image_sizes"].tolist() == [[48, 64]]
    assert noise.num_tokens == backbone.family.process(noisy((64, 48))).num_tokens
    inputs = collate(backbone, [TokenizedMessage(tokenize_message(backbone, (noise,)).ids, (noise,))])
    assert torch.isfinite(backbone.inner(**inputs).last_hidden_state).all()


def test_the_entries_of_the_configuration_are_of_this_family():
    for name in ("E5-V", "VLM2Vec"):
        entry = CONFIG["backbones"][name]
        assert entry["family"] == "llava_next" and entry["source"] in CONFIG["sources"]
        assert all(name not in preset["backbones"] for preset in CONFIG["presets"].values())

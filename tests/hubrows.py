"""Rows in the column layouts of the hub's retention datasets, for tests of their preparation and of faults in them."""

import io

from PIL import Image

from asjob import run_job
from slq.datasets.hub_columns import prepare_questions
from slq.datasets.splits import read_split
from slq.synthetic.datasets import write_hub_files


def picture(colour, format_="PNG"):
    """Return the bytes of a small image file."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), colour).save(buffer, format=format_)
    return buffer.getvalue()


RED, BLUE, GREEN = picture("red"), picture("blue", "JPEG"), picture("green", "WEBP")


def mmmu(number, **changes):
    """Build a row of MMMU, a multiple-choice question about one image."""
    row = {
        "subject": "Art",
        "id": f"validation_Art_{number}",
        "question": "What is in <image 1>?",
        "options": "['a cat', 'None']",
        "explanation": "",
        "image_1": RED,
        "img_type": "['Paintings']",
        "answer": "B",
        "topic_difficulty": "Easy",
        "question_type": "multiple-choice",
        "subfield": "Drawing",
    }
    return row | changes


def realworldqa(question="Which side?\nA. left\nB. right\nPlease answer with the letter.", answer="A", image=RED):
    return {"image": image, "question": question, "answer": answer}


def ocrbench(answer=("STOP", "stop"), **changes):
    row = {"dataset": "IIIT5K", "question": "what is written ?", "question_type": "Regular Text Recognition"}
    return row | {"answer": list(answer), "image": BLUE} | changes


ROWS = {"mmmu": mmmu(1), "realworldqa": realworldqa(), "ocrbench": ocrbench()}


def prepared(tmp_path, columns, rows):
    """Write rows, prepare them, and return the prepared items and the root folder of their images."""
    write_hub_files(columns, rows, tmp_path / "hub")
    prepare_questions(columns, tmp_path / "hub", tmp_path / "data" / "qa" / "test", "qa", "test")
    split = read_split(tmp_path / "data", "qa", "test")
    return split.items, split.root


def adopt(columns, source, out):
    values = {"name": "qa", "split_name": "test", "kind": "retention", "hub_layout": columns, "same_image": ""}
    return run_job("import_local_split", values=values, source=source, out=out)


def refused(tmp_path, capsys, columns, words):
    """Assert that adopting the folder `hub` fails with one message that contains these words, and writes nothing."""
    assert adopt(columns, tmp_path / "hub", tmp_path / "out") == 1
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and message.startswith("slq: error: ")
    for word in words:
        assert word.format(hub=tmp_path / "hub") in message
    assert not list(tmp_path.glob("out/*"))

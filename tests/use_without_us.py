"""Loading of exports in an environment with sentence-transformers and PEFT but without `slq`.

Standard input is a JSON object with:

- `cases`: each with the folder of an export, `options` of the base model, and additional `texts` to encode
- `inputs`: texts or paths of images
- `out`: a folder for the vectors. Each case gets a .npy with the vectors of single inputs and of one batch, and another
  with the first image and text as one input, in the two forms that sentence-transformers accepts.
"""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from sentence_transformers import SentenceTransformer

asked = json.load(sys.stdin)
inputs = [Image.open(item) if item.endswith(".png") else item for item in asked["inputs"]]
told = {"slq": importlib.util.find_spec("slq") is not None, "errors": {}}
for name, case in asked["cases"].items():
    try:
        model = SentenceTransformer(case["folder"], trust_remote_code=True, device="cpu", model_kwargs=case["options"])
        for text in case["texts"]:
            model.encode([text])
    except Exception as error:  # any error is reported to the test
        told["errors"][name] = f"{type(error).__name__}: {error}"
        continue
    alone = np.concatenate([model.encode([item]) for item in inputs])
    np.save(Path(asked["out"], f"{name}.npy"), np.stack([alone, model.encode(inputs)]))
    text, image = (next(item for item in inputs if isinstance(item, str) is kind) for kind in (True, False))
    content = [{"type": "image", "image": image}, {"type": "text", "text": text}]
    both = [{"text": text, "image": image}, [{"role": "user", "content": content}]]
    np.save(Path(asked["out"], f"{name} together.npy"), np.concatenate([model.encode([one]) for one in both]))
print(json.dumps(told))

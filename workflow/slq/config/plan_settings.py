"""The plan of a preset (docs/plan.md): what is decided before its runs, and the hash by which results name it.

This module is imported whenever the Snakefile is read, so its imports must be fast.
"""

from pathlib import Path

from slq.common.errors import SlqError
from slq.common.files import hash_json
from slq.config.cost_settings import dataset_sizes, forecast_settings
from slq.config.job_settings import layout
from slq.config.loading import Config, active_preset, evaluation_datasets, seeds
from slq.config.runs import MIN_SEEDS, merge_training_settings, method_entry, of_method
from slq.config.values import reject_unusable_values
from slq.config.yaml_files import REPOSITORY_ROOT, read_yaml
from slq.methods.registry import BASE

CLAIMS_FILE = REPOSITORY_ROOT / "paper_tables" / "reference" / "claims.yaml"
POWER = 0.8  # probability with which the smallest margin of a plan is told apart from zero
# Keys of `training` that decide what is trained. Others only change how it is computed, and may follow the hardware.
TRAINING_KEYS = [
    "epochs",
    "caption_sampling",
    "batch_size",
    "mask_same_image",
    "temperature",
    "weight_decay",
    "max_grad_norm",
    "checkpoint_selection",
]
DATASET_KEYS = ("train_dataset", "retrieval_datasets", "knowledge_datasets", "retention_datasets")
CHECK_KEYS = ("reference_encoders", "allow_leak")


def decisions(config: Config, claims_file: Path = CLAIMS_FILE) -> Config:
    """Return what the active preset decides before its runs, without wording, hours and the paper's numbers."""
    preset = active_preset(config)
    trained = [name for name in preset["methods"] if name != BASE]
    return {
        **{key: preset[key] for key in ("backbones", *DATASET_KEYS, *CHECK_KEYS, "lr_sweep", "prompt", "dtype")},
        "variants": {
            name: {key: config["datasets"][name].get(key) for key in ("variants", "table_variant")}
            for name in (*preset["retrieval_datasets"], *preset["knowledge_datasets"])
        },
        "methods": {name: method_entry(preset, name).hyperparameters for name in preset["methods"]},
        "proposed_method": config["proposed_method"],
        "training": {
            backbone: {
                name: {
                    key: merge_training_settings(preset, config["backbones"][backbone], name)[key]
                    for key in TRAINING_KEYS
                }
                for name in trained
            }
            for backbone in preset["backbones"]
        },
        "seeds": seeds(config),
        "min_seeds": MIN_SEEDS,
        "power": POWER,
        "seed_sd": {name: of_method(preset, preset["seed_sd"], name, None) for name in trained},
        "test_sizes": {name: _test_size(config, name) for name in evaluation_datasets(preset)},
        "scorers": preset["evaluation"]["scorers"],
        "equivalence_items": preset["evaluation"]["equivalence_items"],
        "compare": config["compare"],
        "claims": _read_claim_tests(claims_file),
    }


def plan_hash(config: Config, claims_file: Path = CLAIMS_FILE) -> str:
    """Return the SHA-256 of the decisions of the active preset."""
    return hash_json(decisions(config, claims_file))


def plan_settings(config: Config) -> Config:
    """Build the settings of the plan: decisions, labels and forecast, and those of the cheapest decisive experiment."""
    datasets = config["datasets"]
    settings = {
        "layout": layout(config),
        "decisions": decisions(config),
        "forecast": forecast_settings(config),
        "synthetic": [name for name in evaluation_datasets(active_preset(config)) if "synthetic" in datasets[name]],
    }
    name = decisive_preset(config)
    return settings | ({"decisive": plan_settings(config | {"preset": name})} if name else {})


def decisive_preset(config: Config) -> str | None:
    """Return the preset of the cheapest decisive experiment; None if the active preset names none, or is it itself."""
    name: str | None = active_preset(config).get("decisive_preset")
    return None if name == config["preset"] else name


def decisive_forecast(config: Config) -> Config | None:
    """Return the forecast settings of the cheapest decisive experiment, if the active preset names another preset."""
    name = decisive_preset(config)
    return forecast_settings(config | {"preset": name}) if name else None


def _read_claim_tests(claims_file: Path) -> Config:
    """Read the test of each claim, by id; `slq.claims.claim` checks the file itself when the claims are judged."""
    content = read_yaml(claims_file)
    reject_unusable_values(content, str(claims_file))
    try:
        return {entry["id"]: entry["test"] for entry in content["claims"]}
    except (KeyError, TypeError) as error:
        raise SlqError(f"{claims_file}: expected `claims`, a list of entries with an `id` and a `test`") from error


def _test_size(config: Config, name: str) -> dict[str, int | None]:
    """Return the numbers of images and of texts of a test split; None where config.yaml has no size."""
    size = dataset_sizes(config, name)["size"]
    return {key: size.get(key, {}).get("test") for key in ("images", "texts")}

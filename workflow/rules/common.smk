# Functions and constants of all rules: the validated configuration, names, paths and resources. It has no rules, and no
# heavy imports, because every cluster job reads this file.
import functools
import math
import os
import re
import shutil
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.iocontainers import Wildcards

# A job that Slurm restarts appends to its log instead of overwriting it.
os.environ.setdefault("SBATCH_OPEN_MODE", "append")
# Hash and run the package next to this Snakefile, even if another checkout is installed in the environment.
PACKAGE_FOLDER = str(Path(workflow.basedir) / "workflow")
sys.path.insert(0, PACKAGE_FOLDER)
os.environ.update(PYTHONPATH=os.pathsep.join([PACKAGE_FOLDER, *filter(None, [os.environ.get("PYTHONPATH")])]))
# Jobs call this Python as `python`, unless conda provides another.
os.environ.update(PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}")

from slq.baselines.registry import find_baselines
from slq.common.errors import SlqError
from slq.common.files import hash_file, read_csv, read_json
from slq.common.fingerprint import fingerprint
from slq.common.parameters import find_finished, write_parameters
from slq.config import baseline_settings, cost_settings, job_settings, plan_settings
from slq.config.evidence import require_evidence
from slq.config.loading import SPLITS, active_preset, evaluation_datasets, is_derived
from slq.config.loading import parent_dataset, prefer_given_seeds, read_config_file, seeds, validate_config
from slq.config.runs import BASE_SEED, MIX, MIX_PATTERN, TRIAL, TRIAL_PATTERN, entry_name, first_learning_rates
from slq.config.runs import frontier_points, list_controls, list_run_seeds, merge_training_resources, method_entry
from slq.config.runs import trial_name
from slq.config.values import UNUSABLE, describe_unquotable_python
from slq.config.yaml_files import reject_duplicate_config_keys, reject_duplicate_options
from slq.cost.forecast import forecast_preset, job_resources
from slq.cost.forecast_table import decisive_lines, summary_lines
from slq.jobs import GENERATION_ENTRIES, JOBS, ensure_user_name
from slq.methods.registry import BASE
from slq.reporting.headlines import find_headline
from slq.reporting.page.closing import closing_lines
from slq.sources.file_hashes import FileHashCache
from snakemake_logger_plugin_slq.words import WORDS

ensure_user_name()  # Snakemake needs the user's name before the first job
try:
    if found := UNUSABLE.search(PACKAGE_FOLDER) or re.search(os.pathsep, PACKAGE_FOLDER):
        raise SlqError(f"{workflow.basedir}: jobs cannot use {found[0]!r} in the repository's path; rename the folder")
    # Snakemake has already read these files, but of a key that occurs twice it keeps the last value without an error.
    for file in workflow.configfiles:
        read_config_file(Path(file))
    reject_duplicate_options(sys.argv)
    reject_duplicate_config_keys(workflow.config_settings.config_args or [])
    validate_config(config)
    prefer_given_seeds(config, workflow.config_settings.config or {})
    PLAN = plan_settings.plan_hash(config)
except SlqError as error:
    raise WorkflowError(str(error)) from None

# Results record the plan they were made under (slq/common/events.py). It is in no job's parameters, so that a changed plan
# makes no result again.
os.environ.update(SLQ_PLAN=PLAN)
PRESET = active_preset(config)
SCRATCH = config["scratch"]
FILE_HASHES = FileHashCache(Path(SCRATCH) / "work" / "contents")
SEEDS = seeds(config)
TRAINED_METHODS = [method for method in PRESET["methods"] if method != BASE]
# Methods whose answers equal base's: this is checked, and their retention is not evaluated.
INHERITING_METHODS = [name for name in TRAINED_METHODS if method_entry(PRESET, name).method.inherits_retention]
# Jobs that make results of a run, with the methods that have such a job.
RUN_JOBS = {
    "train": TRAINED_METHODS,
    "evaluate_retrieval": PRESET["methods"],
    "evaluate_retention": [name for name in PRESET["methods"] if name not in INHERITING_METHODS],
    "check_equivalence": INHERITING_METHODS,
    "evaluate_blind": [name for name in PRESET["methods"] if name not in TRAINED_METHODS],
}
FORECAST_SETTINGS = cost_settings.forecast_settings(config)
DEFAULT_MEM_GB = 32  # GB, if neither the memory forecast nor config.yaml gives a job's memory
RUN_FOLDER = "results/{preset}/{backbone}/{method}/seed{seed}"
SEARCH_FILE = "<scratch>/lr_sweep/{preset}/{backbone}/{method}/seed{seed}.round{round}.json"
BASELINES = list(find_baselines(config))
BASELINE_FOLDER = "results/{preset}/baselines/{baseline}"

REFERENCE_RECALLS = Path("paper_tables/reference/reference_recalls.csv")
# Files of the paper's margins: the printed numbers, and what their columns count.
PAPER_MARGINS = [f"paper_tables/reference/{name}.csv" for name in ("benchmarks", "table3")]
REFERENCE_CHECK = f"results/{config['preset']}/reference_check.json"
CLAIMS = "results/{preset}/claims.json"
BASE_CHECK = "results/{preset}/base_check.json"
LEDGER = f"results/{config['preset']}/gpu_hours.csv"
AUDIT = f"results/{config['preset']}/audit.json"
# In a preset with reference encoders, no long job runs before or during the reference check and the leak audit. A long
# job takes one token of the resource `gate`; the checks and the jobs that they wait for take all tokens and have
# priority. The checks are not inputs of training, so that no training depends on a test split (docs/log.md). With
# `--keep-going` a failed check does not end the call, so the jobs that train also require the files of both checks.
GATE_TOKENS = 1000
workflow.register_resource("gate", GATE_TOKENS)
CHECK_GATE_TOKENS = GATE_TOKENS if PRESET["reference_encoders"] else 0
REQUIRED_CHECKS = [REFERENCE_CHECK, AUDIT] if PRESET["reference_encoders"] else []

# A rule runs its job, the function of `slq.jobs.JOBS` with the rule's name, with the parameters that `job_call` wrote.
# The job's output goes into the rule's log, and on a cluster node also into Slurm's log, which keeps all attempts. The
# screen has a separate line for each job (workflow/snakemake_logger_plugin_slq).
TO_LOG = '2>&1 | if [ "${{SLURM_JOB_ID:-}}" ]; then tee {log} >&2; else cat > {log}; fi'
LOCAL_JOB = " ".join(["python -m slq.jobs {params.job:q}", TO_LOG])
CLUSTER_JOB = " ".join(
    [
        "python -m slq.jobs {params.job:q}",
        "--threads {resources.cpus_per_task} --processes {resources.gpu} --minutes {resources.runtime}",
        TO_LOG,
    ]
)
# Paths that jobs get as arguments. <scratch> stands for the folder `scratch` of config.yaml.
PARAMETERS = Path(SCRATCH) / "params"
JOB_PARAMETERS = {}  # job -> function of the wildcards that builds the job's parameters
DATA = "<scratch>/data"
SHIPPED_WEIGHTS = "workflow/slq/synthetic/pretrained" if config["pretrained"] == "shipped" else None
WORK = "<scratch>/work"
SPLIT_FOLDER = "<scratch>/data/{dataset}/{split}"
BACKBONE_FOLDER = "<scratch>/backbones/{backbone}"
ADAPTER_FOLDER = "<scratch>/runs/{preset}/{backbone}/{method}/seed{seed}"
BASE_FOLDER = f"<scratch>/runs/{{preset}}/{{backbone}}/{BASE}/seed{BASE_SEED}"
BASE_ANSWERS = f"{BASE_FOLDER}/retained.json"
BASE_RETENTION = f"results/{{preset}}/{{backbone}}/{BASE}/seed{BASE_SEED}/retention"
BACKBONE_PATHS = {"backbone_folder": BACKBONE_FOLDER, "data": DATA}
TRAINING_PATHS = BACKBONE_PATHS | {"required": REQUIRED_CHECKS, "work_folder": WORK}
RUN_PATHS = BACKBONE_PATHS | {"adapter_folder": ADAPTER_FOLDER}
BASELINE_PATHS = {"data": DATA, "work": "<scratch>/baselines/{preset}/{baseline}", "out": BASELINE_FOLDER}
REPORT_PATHS = {"results": "results", "reference": "paper_tables/reference"}


def wildcard_pattern(names) -> str:
    """Return the regular expression of a wildcard that matches these names; without names, it matches nothing."""
    return "|".join(re.escape(name) for name in names) or "(?!)"


def with_trials(methods) -> str:
    """Return the regular expression of a wildcard that matches these methods and their trials."""
    return f"({wildcard_pattern(methods)})({TRIAL_PATTERN})?"


def with_points(methods) -> str:
    """Return the regular expression of a wildcard that matches these methods, their trials and interpolated runs."""
    return f"({wildcard_pattern(methods)})({TRIAL_PATTERN}|{MIX_PATTERN})?"


def trained_runs() -> dict[str, str]:
    """Return the wildcard constraints of the runs that are trained, without trials of the learning-rate search."""
    return {"method": wildcard_pattern(TRAINED_METHODS), "seed": wildcard_pattern(map(str, SEEDS))}


def names_with_key(catalogue: str, *sources: str) -> list[str]:
    """List the entries of a catalogue that have one of these keys, such as those of a given origin.

    Args:
        catalogue: `datasets`, `backbones` or `encoders`.
        sources: the keys, e.g. `source` or `local_dir`.
    """
    return [name for name, entry in config[catalogue].items() if any(source in entry for source in sources)]


def job_call(job: str, settings=None, values=None, content=None, required=(), generates=False, **paths):
    """Return the parameter `job` of a rule: a function that writes the parameter file and returns job name and file.

    The file's name is a hash of all parameters (slq/common/parameters.py), so that the job is due again when one of
    them changes. Every named output `out` or `..._file` of the rule is added to the paths.

    Args:
        job: the rule's name, a key of `slq.jobs.JOBS`.
        settings, values, content: functions of the wildcards that return the slice of the configuration, other
            arguments, and the hash of the files that the configuration names.
        required: files of checks that must have passed before the job begins.
        generates: whether the job generates answers; a stopped job then resumes only with the same generation code.
        paths: for each path argument of the job's function, a path (or a list or mapping of paths) with wildcards, or a
            function of the wildcards that returns it.
    """

    def define(wildcards) -> dict:
        # Not an argument `output`: with it, Snakemake would not notice a change of this parameter.
        output, _ = workflow.get_rule(job).expand_output(dict(wildcards.items()))
        outputs = {name: str(path) for name, path in output.items() if name == "out" or name.endswith("_file")}
        named = {name: path(wildcards) if callable(path) else path for name, path in paths.items()}
        resolved = {name: resolve_path(path, wildcards) for name, path in named.items()}
        members = {} if job == "fetch_source" else used_members(wildcards)
        parameters = {"job": job, "members": members, "paths": resolved | outputs}
        # An edit of the code must not start a second download.
        parameters |= {} if job == "fetch_source" else {"code": fingerprint(JOBS[job], **members)}
        parameters |= {"generation_code": fingerprint(*GENERATION_ENTRIES, **members)} if generates else {}
        parts = {"settings": settings, "values": values, "content": content}
        parameters |= {name: part(wildcards) for name, part in parts.items() if part is not None}
        return parameters | ({"required": list(required)} if required else {})

    def write(wildcards) -> list[str]:
        try:
            parameters = define(wildcards)
            finished = find_finished(PARAMETERS, parameters) if config["code"] == "pinned" else None
            output, _ = workflow.get_rule(job).expand_output(dict(wildcards.items()))
            if finished and all(Path(path).exists() for path in output):
                return [job, str(PARAMETERS / finished["parameters"])]
            return [job, str(write_parameters(PARAMETERS, parameters))]
        except SlqError as error:
            raise WorkflowError(str(error)) from None

    JOB_PARAMETERS[job] = define
    return write


def results_of_older_code() -> dict[str, list[str]]:
    """List as `older_code` the jobs of this preset whose outputs `code: pinned` keeps although the code has changed."""
    if config["code"] == "follow":
        return {}
    older = []
    for job, wildcards in jobs_behind_results():
        parameters = JOB_PARAMETERS[job](Wildcards(fromdict=wildcards | {"preset": config["preset"]}))
        finished = find_finished(PARAMETERS, parameters)
        if finished and finished["code"] != parameters["code"]:
            place = ", ".join(f"{key} {value}" for key, value in wildcards.items() if key != "preset")
            older.append(f"{job} ({place}): code {finished['code'][:8]}")
    return {"older_code": older} if older else {}


def jobs_behind_results() -> list[tuple[str, dict[str, str]]]:
    """List the rule and the wildcards of each job that this preset's numbers depend on, beginning with its datasets."""
    made = {"synthetic": "make_synthetic_split", "source": "prepare_split"}
    made |= {"local_dir": "import_local_split", "queries": "import_queries"}
    jobs = []
    for name in dict.fromkeys(audited_datasets()):
        job = next(job for key, job in made.items() if key in config["datasets"][name])
        parts = ("train", "val") if name == PRESET["train_dataset"] else ()
        parts += ("test",) if name != PRESET["train_dataset"] or name in evaluation_datasets(PRESET) else ()
        jobs += [(job, {"dataset": name, "split": split}) for split in parts]
    pretrained = names_with_key("backbones", "pretrain")
    jobs += [("pretrain_backbone", {"backbone": name}) for name in PRESET["backbones"] if name in pretrained]
    jobs += [(job, dict(run.items())) for job, methods in RUN_JOBS.items() for run in run_wildcards(methods)]
    return jobs + [("evaluate_baseline", {"baseline": name}) for name in BASELINES]


def run_wildcards(methods: list[str]) -> list[Wildcards]:
    """List the wildcards of all runs of these methods."""
    return [
        Wildcards(fromdict={"preset": config["preset"], "backbone": backbone, "method": method, "seed": str(seed)})
        for method in methods
        for backbone in PRESET["backbones"]
        for seed in list_run_seeds(method, SEEDS)
    ]


def resolve_path(path, wildcards):
    """Replace wildcards and `<scratch>` in a path, or in each path of a list or mapping; return None for None."""
    if isinstance(path, dict):
        return {name: resolve_path(one, wildcards) for name, one in path.items()}
    if path is None or isinstance(path, list):
        return path and [resolve_path(one, wildcards) for one in path]
    return path.format(**wildcards).replace("<scratch>", SCRATCH)


def manifest(name: str, split: str) -> str:
    """Return the manifest of a split, which exists only if the split is complete."""
    return f"<scratch>/data/{name}/{split}/manifest.json"


def test_split_manifests(kind: str) -> list[str]:
    """List the test splits of the preset's retrieval, knowledge or retention datasets."""
    return [manifest(name, "test") for name in PRESET[f"{kind}_datasets"]]


def training_manifests() -> list[str]:
    """List the splits that training may read."""
    return [manifest(PRESET["train_dataset"], split) for split in ("train", "val")]


def image_cache_files(wildcards) -> list[str]:
    """List the manifest of a run's image cache; empty unless `training.image_cache` needs a job before the run."""
    if job_settings.stored_image_cache(config, wildcards.backbone, wildcards.method) is None:
        return []
    method = entry_name(wildcards.method)
    return [f"<scratch>/feature_cache/{config['preset']}/{wildcards.backbone}/{method}.json"]


def reference_check_files() -> list[str]:
    """List the file of the reference check, if the preset has one; empty with `cells: present`, like `audit_files`."""
    return [REFERENCE_CHECK] if PRESET["reference_encoders"] and config["cells"] == "complete" else []


def encoder_manifests() -> list[str]:
    """List the manifests of the public models in the reference check."""
    return [f"<scratch>/encoders/{name}/manifest.json" for name in PRESET["reference_encoders"]]


def fetched_folders() -> list[str]:
    """List the names of fetched folders: sources, and backbones and encoders that are not pre-trained here."""
    models = [name for kind in ("backbones", "encoders") for name in names_with_key(kind, "source", "local_dir")]
    return [*models, *config["sources"]]


def audited_datasets() -> list[str]:
    """List the preset's datasets in the leak audit, and the parents of derived datasets."""
    names = [PRESET["train_dataset"], *evaluation_datasets(PRESET)]
    return names + [parent_dataset(config["datasets"][name]) for name in names if is_derived(config["datasets"][name])]


def source_gate_tokens(wildcards) -> int:
    """Return the gate tokens of a fetch: all if a check waits for the source, else none."""
    awaited = [config["datasets"][name].get("source") for name in audited_datasets()]
    return CHECK_GATE_TOKENS if wildcards.catalogue == "encoders" or wildcards.source in awaited else 0


def source_manifest(wildcards) -> str:
    """Return the manifest of the source from which a dataset is prepared."""
    return f"<scratch>/sources/{config['datasets'][wildcards.dataset]['source']}/manifest.json"


def query_images_manifest(wildcards) -> str:
    """Return the manifest of the test split whose images a dataset of user-written queries describes."""
    return manifest(parent_dataset(config["datasets"][wildcards.dataset]), "test")


def local_dataset_hash(wildcards) -> str:
    """Hash the files of a local split."""
    return FILE_HASHES.hash_local_split(config["datasets"][wildcards.dataset], wildcards.split)


def queries_hash(wildcards) -> str:
    """Hash the file of user-written queries."""
    return FILE_HASHES.hash_files([config["datasets"][wildcards.dataset]["queries"]])


def searches_hash(wildcards) -> str:
    """Hash the learning-rate searches that exist.

    They are not inputs of the tables: then an edit of the grid would start trials, which run only on request.
    """
    return FILE_HASHES.hash_files([f"{run}/lr_sweep.json" for run in run_folders(TRAINED_METHODS)])


def pilot_images_hash(wildcards) -> str:
    """Hash the pilot's images if they are files of a folder, else return an empty string."""
    return FILE_HASHES.hash_files(pilot_images(wildcards)) if "folder" in baseline_settings.active_pilot(config) else ""


def split_gate_tokens(wildcards) -> int:
    """Return the gate tokens of the job that makes a split: all if a check waits for the split, else none."""
    return CHECK_GATE_TOKENS if wildcards.dataset in audited_datasets() else 0


def audit_files() -> list[str]:
    """List the file of the leak audit; empty with `cells: present`, because a copy of results may lack the datasets."""
    return [AUDIT] if config["cells"] == "complete" else []


def backbone_manifests() -> list[str]:
    """List the manifests of the preset's backbones."""
    return [f"<scratch>/backbones/{name}/manifest.json" for name in PRESET["backbones"]]


def slice_of(build_settings, *names: str):
    """Return a function of the wildcards that builds a job's settings from the configuration.

    Args:
        build_settings: a function of the configuration and of the values of these wildcards.
        names: names of wildcards.
    """
    return lambda wildcards: build_settings(config, *(wildcards[name] for name in names))


def prepare_settings(wildcards) -> dict:
    """Return the settings for preparing a split, with the hashes of its lists of ids."""
    return job_settings.prepare_settings(config, wildcards.dataset, wildcards.split, FILE_HASHES.hash_id_lists)


def fetch_settings(wildcards) -> dict:
    """Return the settings for fetching a source, with the hashes of the user's folders."""
    return job_settings.fetch_settings(config, wildcards.catalogue, wildcards.source, FILE_HASHES.hash_source_part)


def interpolation_settings(wildcards) -> dict:
    """Return the settings of the run that is interpolated, with the name of the interpolated run."""
    return job_settings.train_settings(config, wildcards.backbone, f"{wildcards.method}{MIX}{wildcards.fraction}")


def base_settings(wildcards) -> dict:
    """Return the settings for registering the untouched base."""
    return job_settings.train_settings(config, wildcards.backbone, BASE)


def training_values(wildcards) -> dict:
    """Return the training dataset, and the seed if the job belongs to one run."""
    seed = {"seed": int(wildcards.seed)} if "seed" in wildcards.keys() else {}
    return {"train_dataset": PRESET["train_dataset"]} | seed


def train_values(wildcards) -> dict:
    """Return the values of a training: those of `training_values`, and whether it is a trial."""
    return training_values(wildcards) | {"is_trial": TRIAL in wildcards.method}


def trial_files(wildcards) -> list[str]:
    """List run.json of the trials of a search's round, which has the rates of the earlier rounds and their next ones."""
    rates = first_learning_rates(PRESET, wildcards.method)
    for number in range(int(wildcards.round)):
        rates += read_search(wildcards, number)["next_rates"]
    runs = [dict(wildcards.items()) | {"method": trial_name(wildcards.method, rate)} for rate in rates]
    return [f"{RUN_FOLDER.format(**run)}/run.json" for run in runs]


def read_search(wildcards, number: int) -> dict:
    """Read the outcome of a round of a search; Snakemake plans again when that round has finished."""
    at = {key: wildcards[key] for key in ("preset", "backbone", "method", "seed")}
    return read_json(Path(checkpoints.choose_learning_rate.get(**at, round=str(number)).output[0]))


def last_round(wildcards) -> str:
    """Return the outcome of the last round of a search, which has no next rates."""
    number = 0
    while read_search(wildcards, number)["next_rates"]:
        number += 1
    return SEARCH_FILE.format(**dict(wildcards.items()), round=number)


def search_files(methods: list[str]) -> list[str]:
    """List the learning-rate searches of these methods, which have the first seed."""
    at = {"preset": config["preset"], "backbone": PRESET["backbones"], "method": methods, "seed": SEEDS[0]}
    return expand(f"{RUN_FOLDER}/lr_sweep.json", **at)


def frontier_runs(wildcards) -> list[str]:
    """List the folders of all runs on the frontier, when the searches have finished, and those of base."""
    if BASE not in PRESET["methods"]:
        raise WorkflowError(f"config: presets.{config['preset']}.methods lacks {BASE}, which the frontier starts from")
    runs = run_folders([BASE])
    for backbone in PRESET["backbones"]:
        for point in job_settings.frontier_settings(config)["points"]:
            run = {"preset": config["preset"], "backbone": backbone, "method": point["name"], "seed": str(SEEDS[0])}
            search = read_json(Path(resolve_path(last_round(Wildcards(fromdict=run)), run)))
            names = frontier_points(point["name"], point["learning_rate"], search["trials"], point["fractions"])
            runs += [RUN_FOLDER.format(**run | {"method": name}) for name in names]
    return runs


def frontier_inputs(wildcards) -> list[str]:
    """List the results of runs that the frontier is drawn from, when the searches have finished."""
    files = []
    for run in frontier_runs(wildcards):
        files += [f"{run}/run.json", *(f"{run}/retrieval/{name}.json" for name in PRESET["retrieval_datasets"])]
        files += [f"{run}/retention/{name}.json" for name in PRESET["retention_datasets"]]
    return files


def layout_values(wildcards) -> dict:
    """Return the layout of tables, figures and the page."""
    return {"layout": job_settings.layout(config) | results_of_older_code()}


def page_values(wildcards) -> dict:
    """Return the layout of the page, and the present plan, with which it compares those of the results."""
    return layout_values(wildcards) | {"plan": PLAN}


def compared_values(wildcards) -> dict:
    """Return the two sources of the comparison with the paper, and the preset, which may have no run yet."""
    preset = wildcards.preset
    return {"a": f"results/{preset}", "b": "paper", "preset": preset} | results_of_older_code()


def used_members(wildcards) -> dict:
    """Return the families, dual-encoder types and methods that the job of a run, encoder or baseline uses.

    Any other job is assumed to use the dual encoders of the reference check and all methods.
    """
    if "baseline" in wildcards.keys():
        return baseline_settings.baseline_members(config, wildcards.baseline)
    if "backbone" in wildcards.keys():
        return job_settings.used_members(config, [wildcards.backbone], methods=[wildcards.get("method", BASE)])
    encoders = [wildcards.encoder] if "encoder" in wildcards.keys() else PRESET["reference_encoders"]
    return job_settings.used_members(config, encoders=encoders) | {"methods": None}


def cluster_resources(stage: str, gate=1) -> dict:
    """Return the cluster resources of a stage's jobs; a retry requests more memory and time, in case the job ran out.

    `cpus_per_task` is set in addition to `threads`, because Snakemake caps threads at the CPUs of the submitting host.

    Args:
        stage: a key of the preset's `resources`.
        gate: number of gate tokens, of GATE_TOKENS in all, or a function of the wildcards that returns it; 0 for a
            short job that need not wait for the checks.
    """
    return {
        "cpus_per_task": lambda wildcards: stage_resources(stage, wildcards)["cpus"],
        "mem_mb": lambda wildcards, attempt: int(stage_resources(stage, wildcards)["mem_gb"] * 1000 * attempt),
        "runtime": lambda wildcards, attempt: int(stage_resources(stage, wildcards)["hours"] * 60 * attempt),
        "gpu": lambda wildcards: stage_resources(stage, wildcards)["gpus"],
        "gate": gate,
    }


def stage_resources(stage: str, wildcards) -> dict:
    """Return the resources of a stage's job; for a run, its own settings with time limit and memory of the forecast.

    `hours` in config.yaml is an upper limit, and `mem_gb` there overrides the forecast's memory (docs/hours.md).
    """
    configured, backbone = PRESET["resources"][stage], wildcards.get("backbone")
    if stage not in ("train", "evaluate") or backbone not in PRESET["backbones"]:
        return {"mem_gb": DEFAULT_MEM_GB} | configured
    method = entry_name(wildcards.get("method", BASE))
    if stage == "train":
        configured = merge_training_resources(PRESET, config["backbones"][backbone], method)
    estimate = forecast_job_resources(backbone, method, stage)
    if estimate is None:
        return {"mem_gb": DEFAULT_MEM_GB} | configured
    return {"mem_gb": math.ceil(estimate.mem_gb)} | configured | {"hours": min(configured["hours"], estimate.hours)}


forecast_job_resources = functools.cache(functools.partial(job_resources, FORECAST_SETTINGS))


def stage_cpus(stage: str):
    """Return a function of the wildcards that returns a job's number of CPU cores, for scheduling on this machine."""
    return lambda wildcards: stage_resources(stage, wildcards)["cpus"]


def result_files() -> list[str]:
    """List the result files of all runs of the preset that the tables show."""
    names = ["run.json"]
    names += [f"retrieval/{name}.json" for name in PRESET["retrieval_datasets"]]
    names += [f"retention/{name}.json" for name in PRESET["retention_datasets"]]
    blind = [
        f"{run}/blind/{name}.json"
        for run in run_folders(RUN_JOBS["evaluate_blind"])
        for name in PRESET["retention_datasets"]
    ]
    return [f"{run}/{name}" for run in run_folders(PRESET["methods"]) for name in names] + blind


def per_dataset(kind: str, folder: str, *suffixes: str) -> list[str]:
    """List a file per suffix and dataset of a kind; `retrieved` means retrieval and knowledge datasets."""
    kinds = ("retrieval", "knowledge") if kind == "retrieved" else (kind,)
    names = [name for one in kinds for name in PRESET[f"{one}_datasets"]]
    return [f"{folder}/{name}{suffix}" for suffix in suffixes for name in names]


def knowledge_files() -> list[str]:
    """List the result files of all runs of the preset that only the figure by backbone size shows."""
    runs = run_folders(PRESET["methods"])
    return expand("{run}/retrieval/{name}.json", run=runs, name=PRESET["knowledge_datasets"])


def run_folders(methods: list[str]) -> list[str]:
    """List the result folders of all runs of these methods."""
    return [RUN_FOLDER.format(**run) for run in run_wildcards(methods)]


def baseline_files() -> list[str]:
    """List the metrics files of the baselines."""
    files = ["baseline.json", *(f"retrieval/{name}.json" for name in PRESET["retrieval_datasets"])]
    return expand(f"{BASELINE_FOLDER}/{{file}}", preset=config["preset"], baseline=BASELINES, file=files)


def baseline_inputs(wildcards) -> dict[str, str]:
    """Return the files of a baseline's models and adapters, by their names in metrics files."""
    files = baseline_settings.baseline_inputs(config, wildcards.baseline)
    return {name: f"<scratch>/{file}" for name, file in files.items()}


def baseline_manifests() -> list[str]:
    """List the manifests of the models of the preset's baselines."""
    return [f"<scratch>/{place}/{name}/manifest.json" for place, name in baseline_settings.baseline_models(config)]


def pilot_images(wildcards) -> list[str]:
    """List the input files of the pilot's images: the manifest of a split, or those image files that exist.

    A missing image file is reported by `measure_pilot`.
    """
    try:
        pilot = baseline_settings.active_pilot(config)
    except SlqError as error:
        raise WorkflowError(str(error)) from None
    if "dataset" in pilot:
        return [manifest(pilot["dataset"], "val")]
    return [file for file in (f"{pilot['folder']}/{name}" for name in pilot["images"]) if Path(file).exists()]


def existing_if_partial(files: list[str]) -> list[str]:
    """Return all files, or with `cells: present` only the existing ones, so that a missing result starts no run."""
    return files if config["cells"] == "complete" else [file for file in files if Path(file).exists()]


def missing_results() -> list[str]:
    """List the results of the preset that do not exist, any of which a user may request by name."""
    of_runs = [*result_files(), *knowledge_files(), *ranks_and_answers()]
    files = [*of_runs, *baseline_files(), *baseline_ranks(), AUDIT, REFERENCE_CHECK]
    return [file for file in files if not Path(file).exists()]


def refuse_to_run(wildcards):
    """Raise WorkflowError, because the requested result could only be made by a run."""
    missing_note = f": {wildcards.missing} does not exist" if "missing" in wildcards.keys() else ""
    raise WorkflowError(
        f"config: cells is 'present', with which no job makes results{missing_note}; "
        f"remove `cells=present` from the call, or copy results into results/{config['preset']}"
    )


def table_results(wildcards) -> list[str]:
    """List the results of runs that the tables need."""
    return existing_if_partial(result_files())


def base_retention_results(wildcards) -> list[str]:
    """List the scores of the untouched backbones."""
    folders = run_folders([one for one in PRESET["methods"] if one == BASE])
    return existing_if_partial(
        [f"{run}/retention/{name}.json" for run in folders for name in PRESET["retention_datasets"]]
    )


def knowledge_results(wildcards) -> list[str]:
    """List the results of runs that only figures need."""
    return existing_if_partial(knowledge_files())


def baseline_results(wildcards) -> list[str]:
    """List the results of baselines for the extended Table 1 and for comparisons."""
    return existing_if_partial([*baseline_files(), *baseline_ranks()])


def evidence_files(wildcards) -> list[str]:
    """List the ranks, answers, leak audit and ledger, which intervals and comparisons need besides results.

    The audit lists the test images that are in the training set.
    """
    return existing_if_partial([*ranks_and_answers(), AUDIT]) + ledger_files()


def ranks_and_answers() -> list[str]:
    """List the files of ranks and answers from which the metrics of all runs are computed."""
    retrieval, retention = PRESET["retrieval_datasets"], PRESET["retention_datasets"]
    files = expand("{run}/retrieval/{name}.ranks.parquet", run=run_folders(PRESET["methods"]), name=retrieval)
    files += expand(
        "{run}/retention/{name}.answers.jsonl", run=run_folders(RUN_JOBS["evaluate_retention"]), name=retention
    )
    base = run_folders(RUN_JOBS["evaluate_blind"])
    return files + expand("{run}/blind/{name}.answers.jsonl", run=base, name=retention)


def baseline_ranks() -> list[str]:
    """List the files of ranks from which the metrics of all baselines are computed."""
    at = {"preset": config["preset"], "baseline": BASELINES, "name": PRESET["retrieval_datasets"]}
    return expand(f"{BASELINE_FOLDER}/retrieval/{{name}}.ranks.parquet", **at)


def figure_evidence_files(wildcards) -> list[str]:
    """List the files of ranks and answers from which the values in figures are computed."""
    ranks = [file.removesuffix(".json") + ".ranks.parquet" for file in knowledge_files()]
    kinds = (".ranks.parquet", ".answers.jsonl")
    return [file for file in evidence_files(wildcards) if file.endswith(kinds)] + existing_if_partial(ranks)


def ledger_events(wildcards) -> list[str]:
    """List the event files that the ledger counts: those of every stage of every run, and of every baseline.

    A copy of results may have the result of a stage without its events. Such events are left out, so that nothing is
    run again.
    """
    stages = [("train", "train", "run.json")]
    stages += [
        ("evaluate_retrieval", "retrieval", f"retrieval/{name}.json") for name in PRESET["retrieval_datasets"][:1]
    ]
    for name in PRESET["retention_datasets"][:1]:
        stages += [("evaluate_retention", "retention", f"retention/{name}.json")]
        stages += [("check_equivalence", "equivalence", f"retention/{name}.json")]
        stages += [("evaluate_blind", "blind", f"blind/{name}.json")]
    files = [
        f"{run}/events/{stage}.jsonl"
        for job, stage, result in stages
        for run in run_folders(RUN_JOBS[job])
        if Path(f"{run}/events/{stage}.jsonl").exists() or not Path(f"{run}/{result}").exists()
    ]
    return existing_if_partial([*files, *feature_cache_events(), *baseline_events()])


def baseline_events() -> list[str]:
    """List the event files of the baselines, without those that a copy of results lacks (`ledger_events`)."""
    folders = expand(BASELINE_FOLDER, preset=config["preset"], baseline=BASELINES)
    return [
        f"{folder}/events/retrieval.jsonl"
        for folder in folders
        if Path(f"{folder}/events/retrieval.jsonl").exists() or not Path(f"{folder}/baseline.json").exists()
    ]


def feature_cache_events() -> list[str]:
    """List the event files of image caches, without those that a copy of results lacks (`ledger_events`)."""
    files = []
    for backbone in PRESET["backbones"]:
        for method in TRAINED_METHODS:
            folder = f"results/{config['preset']}/{backbone}/{method}"
            runs = [f"{folder}/seed{seed}/run.json" for seed in SEEDS]
            if job_settings.stored_image_cache(config, backbone, method) is not None:
                wanted = not all(Path(run).exists() for run in runs)
                files += [f"{folder}/feature_cache.jsonl"] * (wanted or Path(f"{folder}/feature_cache.jsonl").exists())
    return files


def ledger_files() -> list[str]:
    """List the ledger if events exist or will be made; a copy of results without events keeps its ledger."""
    return [LEDGER] if ledger_events(None) else []


def countable_presets() -> list[str]:
    """List the preset if its ledger may be counted again, else nothing.

    With `cells: present`, an existing ledger is kept if some of the events that it was counted from are missing,
    because their hours would be lost.
    """
    if config["cells"] == "complete" or not Path(LEDGER).exists():
        return [config["preset"]]
    sources = [row.get("source") for row, _ in read_csv(Path(LEDGER))[1]]
    return [config["preset"]] if all(source and Path(source).exists() for source in sources) else []


def training_curve_events(wildcards) -> list[str]:
    """List the event files of training, from which the training curves are drawn."""
    return existing_if_partial([f"{run}/events/train.jsonl" for run in run_folders(TRAINED_METHODS)])


TABLES = ["table1", "table3", "gpu_hours", "retention", "intervals", "comparisons", "counts", "rates"]
TABLES += ["table1_extended"]
TABLES += ["controls"] if list_controls(PRESET) else []


def table_files() -> list[str]:
    """List the rendered tables; their PDF only if pdflatex is installed, because an output cannot be optional."""
    folder = f"paper_tables/{config['preset']}"
    names = ["tables.tex", "cells.csv", "table3.txt"]
    names += [f"{table}.{kind}" for table in TABLES for kind in ("tex", "html")]
    names += ["tables.pdf"] if shutil.which("pdflatex") else []
    return [f"{folder}/{name}" for name in names]


def control_files(wildcards) -> list[str]:
    """List the table of controls; raise WorkflowError if the preset lacks seeds or controls for a verdict."""
    try:
        require_evidence(config)
    except SlqError as error:
        raise WorkflowError(str(error)) from None
    return [f"paper_tables/{config['preset']}/controls.html"]


# The figure by backbone size, which needs a knowledge dataset.
SCALE_FIGURES = ["scale"] if PRESET["knowledge_datasets"] else []


def figure_files() -> list[str]:
    """List the figures that need only results, and the CSV file of their points."""
    folder = f"paper_tables/{config['preset']}/figures"
    figures = ["margins", "recall", "retention", "training", *SCALE_FIGURES]
    pictures = expand("{figure}.{kind}", figure=figures, kind=["svg", "png"])
    return [f"{folder}/{name}" for name in [*pictures, "figures.csv"]]


# The run in the query figure: first backbone, proposed method (or the last method if it is not in the preset), first
# seed, on the last retrieval dataset.
EXAMPLE_METHOD = config["proposed_method"] if config["proposed_method"] in PRESET["methods"] else PRESET["methods"][-1]
EXAMPLE_RUN = {"backbone": PRESET["backbones"][0], "method": EXAMPLE_METHOD}
EXAMPLE_RUN |= {"name": PRESET["retrieval_datasets"][-1]}


def example_top_file() -> str:
    """Return the file of the images that the run in the query figure retrieved."""
    seed = list_run_seeds(EXAMPLE_RUN["method"], SEEDS)[0]
    run = RUN_FOLDER.format(preset=config["preset"], seed=seed, **EXAMPLE_RUN)
    return f"{run}/retrieval/{EXAMPLE_RUN['name']}.top.jsonl"


def query_figure_files() -> list[str]:
    """List the files of the query figure, if the dataset's images exist or are made in the same call as the run.

    Empty with `cells: present`. Also empty if the results exist without the dataset, because making the dataset again
    would start every run again.
    """
    pictures = Path(manifest(EXAMPLE_RUN["name"], "test").replace("<scratch>", SCRATCH)).exists()
    if config["cells"] != "complete" or (Path(example_top_file()).exists() and not pictures):
        return []
    return [f"paper_tables/{config['preset']}/figures/queries.{kind}" for kind in ("svg", "png", "csv")]


def page_file() -> str:
    """Return the path of the preset's page."""
    return f"paper_tables/{config['preset']}/report.html"


def page_figures() -> list[str]:
    """List the figures on the preset's page."""
    return [path for path in figure_files() + query_figure_files() if path.endswith(".svg")]


def require_plain_python() -> None:
    """Raise WorkflowError if jobs are submitted to a cluster and could not start this Python there."""
    message = describe_unquotable_python()
    if message and not workflow.executor_plugin.common_settings.local_exec:
        raise WorkflowError(message)


def last_words(finished_rules, is_dry_run: bool, width: int | None) -> list[str]:
    """Return the last lines of a call: in a dry run the preset's forecast, else the closing lines with its results."""
    if is_dry_run:
        lines = summary_lines(FORECAST_SETTINGS, forecast_preset(FORECAST_SETTINGS)[0])
        return ["", *lines, *decisive_lines(plan_settings.decisive_forecast(config))]
    tables = Path(f"paper_tables/{config['preset']}")
    return closing_lines(tables, Path(CLAIMS.format(preset=config["preset"])), finished_rules, width)


# Labels and closing lines for the screen.
CATALOGUES = (config["backbones"], config["encoders"], config["datasets"])
WORDS.labels = {name: entry.get("label", name) for catalogue in CATALOGUES for name, entry in catalogue.items()}
WORDS.labels |= {name: method_entry(PRESET, name).label for name in PRESET["methods"]}
WORDS.labels |= {one.name: one.label for one in job_settings.list_baselines(config)}
WORDS.find_headline = find_headline
WORDS.last_words = last_words

"""Layout of one preset's tables: the backbones, methods and datasets that a job receives as rows and columns."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slq.common.errors import SlqError
from slq.config.baselines import Baseline
from slq.config.runs import list_run_seeds
from slq.evaluation.retention_metrics import HIT_COUNT_BENCHMARKS
from slq.methods.registry import BASE

BASELINES = "baselines"  # the folder of a preset that holds the results of systems that are not runs
RUN_GLOB = "*/*/seed*/run.json"  # relative to a preset's folder
ENTRY_KEYS = ("backbones", "retrieval_datasets", "knowledge_datasets", "retention_datasets")  # lists of LayoutEntry
PLAIN_KEYS = ("preset", "table3_base", "proposed_method", "cost_baseline")  # keys whose values are used unchanged


@dataclass(frozen=True)
class LayoutEntry:
    """A backbone or a dataset.

    Attributes:
        name: the name in result files and paths
        label: the printed name
        paper_name: the paper's row or column that it represents; empty if none
        scored_as: for a retention dataset, the benchmark whose scorers judge its answers
    """

    name: str
    label: str
    paper_name: str
    scored_as: str = ""

    @property
    def is_from_paper(self) -> bool:
        """Whether it is the paper's own backbone or dataset, not a stand-in: the names are equal."""
        return self.name == self.paper_name

    @property
    def is_scored_in_hits(self) -> bool:
        """Whether its score is a number of hits, as for OCRBench; all other scores are percentages."""
        return self.scored_as in HIT_COUNT_BENCHMARKS


@dataclass(frozen=True)
class MethodRow:
    """A method as tables and figures show it.

    Attributes:
        name: the name in result files and paths
        label, color: the printed name and colour
        changes_backbone: whether its runs may answer differently from the untouched backbone
        read_out, adaptation: its two factors (`slq.methods.registry`)
    """

    name: str
    label: str
    color: str
    changes_backbone: bool
    read_out: str = ""
    adaptation: str = ""


@dataclass(frozen=True)
class ReportLayout:
    """The rows and columns that the config selects.

    Attributes:
        methods: the methods that the preset runs
        rows: all methods that tables show, in order; a method that the preset does not run is shown as not run
        controls: the methods of Table G, including those that the preset does not run; empty without that table
        proposed_method: the paper's own method
        cost_baseline: the method whose hours the hours of all methods are divided by
        knowledge_datasets: retrieval datasets whose queries need knowledge; only one figure shows them
        table3_base: whether Table 3 has a row for the untouched backbone
        baselines: systems that are not runs, in the order of the extended Table 1
        older_code: jobs whose results were made by an older version of the code; they are kept because the code is
            pinned
    """

    preset: str
    seeds: tuple[int, ...]
    backbones: tuple[LayoutEntry, ...]
    methods: tuple[str, ...]
    rows: tuple[MethodRow, ...]
    controls: tuple[MethodRow, ...]
    proposed_method: str
    cost_baseline: str
    retrieval_datasets: tuple[LayoutEntry, ...]
    knowledge_datasets: tuple[LayoutEntry, ...]
    retention_datasets: tuple[LayoutEntry, ...]
    table3_base: bool
    baselines: tuple[Baseline, ...]
    older_code: tuple[str, ...] = ()

    @property
    def labels(self) -> dict[str, str]:
        """Labels of the methods that tables show, by name and in order."""
        return {row.name: row.label for row in self.rows}

    @property
    def colors(self) -> dict[str, str]:
        """Colours of the methods that tables show, by name."""
        return {row.name: row.color for row in self.rows}

    @property
    def trained_methods(self) -> list[str]:
        """The methods that tables show, except the untouched base."""
        return [row.name for row in self.rows if row.name != BASE]

    @property
    def other_methods(self) -> list[str]:
        """The methods that the proposed method is compared with: those above its row, nearest first, then the rest."""
        place = self.trained_methods.index(self.proposed_method)
        return [*reversed(self.trained_methods[:place]), *self.trained_methods[place + 1 :]]

    @property
    def unchanged_methods(self) -> list[str]:
        """The methods whose runs give the same answers as the untouched backbone."""
        return [row.name for row in self.rows if not row.changes_backbone]

    def seeds_of(self, method: str) -> tuple[int, ...]:
        """Return the seeds of a method's runs; none if the layout leaves the method out."""
        return list_run_seeds(method, self.seeds) if method in self.methods else ()

    def compared_seed(self, method: str) -> int:
        """Return the first seed of a method, whose run represents the method wherever single runs are compared."""
        return list_run_seeds(method, self.seeds)[0]

    @property
    def runs(self) -> list[tuple[str, str, int]]:
        """The backbone's name, the method and the seed of every run, in the order of the tables."""
        methods = [method for method in self.labels if method in self.methods]
        names = [one.name for one in self.backbones]
        return [(name, method, seed) for name in names for method in methods for seed in self.seeds_of(method)]

    @property
    def has_several_seeds(self) -> bool:
        """Whether a trained method has more than one run."""
        return len(self.seeds) > 1

    @property
    def which_seeds(self) -> str:
        """The seeds in the words of a caption: `seed 1` or `seeds 1, 2`."""
        return f"seed{'s' * self.has_several_seeds} {', '.join(map(str, self.seeds))}"


def find_layout(
    folder: Path,
    backbones: Mapping[str, LayoutEntry],
    datasets: Mapping[str, LayoutEntry],
    run_folders: Sequence[Path] = (),
    labels: Mapping[str, str] | None = None,
) -> ReportLayout:
    """Derive the layout of a preset's folder from the files that exist.

    Args:
        backbones, datasets: known entries by name; any other name gets an entry that represents nothing in the paper
        run_folders: restricts the layout to these runs; if empty, the layout has all runs and baselines
        labels: labels of methods by name, in the order of the tables; a method without a label is shown by its name

    Raises:
        SlqError: the folder of a run is not named `seed<k>`
    """
    runs = run_folders or [path.parent for path in sorted(folder.glob(RUN_GLOB))]
    baselines = [] if run_folders else sorted(path.parent for path in folder.glob(f"{BASELINES}/*/baseline.json"))

    def entries(names: Iterable[str], known: Mapping[str, LayoutEntry]) -> tuple[LayoutEntry, ...]:
        return tuple(known.get(name, LayoutEntry(name, name, "")) for name in sorted({*names}))

    def dataset_entries(kind: str) -> tuple[LayoutEntry, ...]:
        return entries((path.stem for one in (*runs, *baselines) for path in (one / kind).glob("*.json")), datasets)

    methods = sorted({run.parent.name for run in runs})
    method_labels = {**(labels or {}), **{name: name for name in methods if name not in (labels or {})}}
    return ReportLayout(
        preset=folder.name,
        seeds=tuple(sorted({_parse_seed(run) for run in runs if run.parent.name != BASE})),
        backbones=entries((run.parents[1].name for run in runs), backbones),
        methods=tuple(methods),
        rows=tuple(MethodRow(name, label, color="", changes_backbone=True) for name, label in method_labels.items()),
        controls=(),
        proposed_method="",
        cost_baseline="",
        retrieval_datasets=dataset_entries("retrieval"),
        knowledge_datasets=(),  # read as any other retrieval dataset
        retention_datasets=dataset_entries("retention"),
        table3_base=True,
        baselines=tuple(Baseline(one.name, one.name, group="") for one in baselines),
    )


def find_runs_of_seed(folder: Path, seed: int) -> list[Path]:
    """List the runs of one seed in a preset's folder, and the runs of base, which does not depend on a seed.

    Raises:
        SlqError: no run has the seed, or the folder of a run is not named `seed<k>`
    """
    seeds = {path.parent: _parse_seed(path.parent) for path in sorted(folder.glob(RUN_GLOB))}
    there = sorted({number for run, number in seeds.items() if run.parent.name != BASE})
    if seed not in there:
        raise SlqError(f"{folder}: no run of seed {seed}; existing seeds: {', '.join(map(str, there)) or 'none'}")
    return [run for run, number in seeds.items() if number == seed or run.parent.name == BASE]


def _parse_seed(run_folder: Path) -> int:
    """Parse the seed from the name of a run's folder, `seed<k>`."""
    number = run_folder.name.removeprefix("seed")
    if not number.isdecimal():
        raise SlqError(f"{run_folder}: not the folder of a run; expected a folder named seed<k>")
    return int(number)


@dataclass(frozen=True)
class DatasetColumn:
    """A dataset's column in a table.

    Attributes:
        paper_column: the name of the paper's column
        dataset: the layout's dataset for the column; None if the layout has none
    """

    paper_column: str
    dataset: LayoutEntry | None

    @property
    def key(self) -> str:
        """The dataset's name in `cells.csv`."""
        return self.dataset.name if self.dataset else self.paper_column

    def header(self, paper_headers: Mapping[str, str]) -> str:
        """Return the paper's header for the paper's dataset or an empty column, and our dataset's label otherwise."""
        if self.dataset is None or self.dataset.is_from_paper:
            return paper_headers.get(self.paper_column, self.dataset.label if self.dataset else self.paper_column)
        return self.dataset.label


def match_paper_columns(datasets: Sequence[LayoutEntry], paper_columns: Sequence[str]) -> list[DatasetColumn]:
    """Return the paper's columns in the paper's order, followed by the datasets that match none of them."""
    columns = []
    for paper_column in paper_columns:
        matching = [entry for entry in datasets if entry.paper_name == paper_column]
        columns += [DatasetColumn(paper_column, entry) for entry in matching] or [DatasetColumn(paper_column, None)]
    return columns + [
        DatasetColumn(entry.paper_name, entry) for entry in datasets if entry.paper_name not in paper_columns
    ]


def parse_layout(layout: Mapping[str, Any]) -> ReportLayout:
    """Parse the layout that a job receives (`slq.config.job_settings.layout`)."""
    try:
        classes = {**dict.fromkeys(ENTRY_KEYS, LayoutEntry), "rows": MethodRow, "baselines": Baseline}
        lists: dict[str, Any] = {key: tuple(one(**entry) for entry in layout[key]) for key, one in classes.items()}
        lists |= {"seeds": tuple(map(int, layout["seeds"])), "methods": tuple(layout["methods"])}
        lists["controls"] = tuple(MethodRow(**entry) for entry in layout.get("controls", ()))
        lists["older_code"] = tuple(layout.get("older_code", ()))
        parsed = ReportLayout(**{key: layout[key] for key in PLAIN_KEYS}, **lists)
    except (KeyError, TypeError, ValueError) as error:
        raise SlqError(f"layout of the tables: {type(error).__name__} {error}; see slq/results/layout.py") from error
    named = {*parsed.methods, parsed.proposed_method, parsed.cost_baseline}
    if unknown := sorted(named - parsed.labels.keys()):
        raise SlqError(
            f"layout of the tables: unknown methods {unknown}; expected methods of the paper (table3.csv) or of the "
            f"preset: {list(parsed.labels)}"
        )
    return parsed

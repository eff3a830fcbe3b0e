"""Texts of the terminal output that only the Snakefile knows: labels, headlines and closing lines."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field


@dataclass
class Words:
    """Texts for one call of Snakemake; the Snakefile sets them (workflow/rules/common.smk).

    Attributes:
        labels: printed labels of backbones, methods and baselines, by name
        find_headline: returns the headline of a finished job, given its rule and outputs
        last_words: returns the closing lines of a call, given the rules whose jobs have run, whether it is a dry run,
            and the columns of the terminal (None if the output is not a terminal)
    """

    labels: dict[str, str] = field(default_factory=dict)
    find_headline: Callable[[str, Sequence[str]], str] = lambda rule, outputs: ""
    last_words: Callable[[set[str], bool, int | None], Iterable[str]] = lambda rules, is_dry_run, width: ()

    def put_labels(self, text: str, names: Iterable[str]) -> str:
        """Replace these names in a text with their labels."""
        known = "|".join(re.escape(name) for name in names if name in self.labels)
        return re.sub(rf"(?<![\w-])({known})(?![\w-])", lambda found: self.labels[found[1]], text) if known else text


WORDS = Words()

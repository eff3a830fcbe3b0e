"""Texts of the terminal output that only the Snakefile knows: labels, headlines and closing lines."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass
class Words:
    """Texts for one call of Snakemake; the Snakefile sets them (workflow/rules/common.smk).

    Attributes:
        labels: printed labels of backbones, methods and baselines, by name
        find_headline: returns the headline of a finished job, given its rule and outputs
        last_words: returns the closing lines of a call, given the rules whose jobs have run, and whether it is a dry
            run
    """

    labels: dict[str, str] = field(default_factory=dict)
    find_headline: Callable[[str, Sequence[str]], str] = lambda rule, outputs: ""
    last_words: Callable[[set[str], bool], Iterable[str]] = lambda finished_rules, is_dry_run: ()

    def put_labels(self, message: str, wildcards: Mapping[str, str]) -> str:
        """Replace the names in a rule's message with their labels."""
        names = "|".join(re.escape(value) for value in wildcards.values() if value in self.labels)
        return (
            re.sub(rf"(?<![\w-])({names})(?![\w-])", lambda found: self.labels[found[1]], message) if names else message
        )


WORDS = Words()

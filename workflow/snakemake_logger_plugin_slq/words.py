"""Words of the screen that only the Snakefile knows: labels, and what is said at the end of a call."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass
class Words:
    """Words of one call of Snakemake; the Snakefile fills them (workflow/rules/common.smk).

    Attributes:
        labels: of backbones, methods and baselines, by name, as tables print them
        find_headline: a function that returns the headline of a finished job, of its rule and outputs
        last_words: a function that returns the last lines of a call, of the rules whose jobs have run, and of whether
            it is a dry run
    """

    labels: dict[str, str] = field(default_factory=dict)
    find_headline: Callable[[str, Sequence[str]], str] = lambda rule, outputs: ""
    last_words: Callable[[set[str], bool], Iterable[str]] = lambda finished_rules, is_dry_run: ()

    def put_labels(self, message: str, wildcards: Mapping[str, str]) -> str:
        """Replace the names in a rule's message by their labels."""
        names = "|".join(re.escape(value) for value in wildcards.values() if value in self.labels)
        return (
            re.sub(rf"(?<![\w-])({names})(?![\w-])", lambda found: self.labels[found[1]], message) if names else message
        )


WORDS = Words()

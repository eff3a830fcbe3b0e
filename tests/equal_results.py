"""Exact comparison of two finished runs: `python tests/equal_results.py A B [--map names.yaml]`.

A and B are checkouts, or folders with the outputs of a run: `results/<preset>`, `paper_tables/<preset>` and the
adapters in `scratch/runs`. `slq compare` checks whether two results agree within tolerances. This script checks whether
they are identical, for example before and after a refactoring. It does not import the package.

    kind      compared
    ranks     results/**/*.ranks.parquet: bytes
    answers   results/**/*.answers.jsonl: bytes
    adapters  scratch/runs/**/*.safetensors: type, shape and bytes of every tensor; not the file's header
    cells     paper_tables/*/cells.csv: value, sd, low, high and n of every cell, as numbers; without hours
    figures   paper_tables/*/figures/*.csv: x and y of every point, as numbers; without hours

Hours are measured by clocks (CLOCKS below) and differ between any two runs, so they are not compared. FLOPs are
compared. The words in a cell (a verdict, the name of a device) are not compared. A file, tensor, cell, point or number
that exists on only one side is a difference. A rank table with other bytes but the same columns, types and values is
also a difference; it is reported as a difference of the container only.

Output uses the names of A. `--map` translates them to the names of B:

    exact:
      row: {rows/mini-clip: baselines/mini-clip}
    prefix:
      file: {results/mini/rows/: results/mini/baselines/}

A rule applies to one part of a name: `file` (a path relative to the checkout), `tensor`, `table`, `row`, `column`,
`figure`, `panel` or `series`. An exact rule takes precedence over prefixes, and a longer prefix over a shorter one. A
part without a rule keeps its name. If the files of a kind are in another place in B, `find` gives their pattern in B:

    find: {adapters: scratch/adapters/**/*.safetensors}

Exit status: 0 if equal; 1 if different; 2 for a wrong call or if there is nothing to compare. A kind that is missing on
both sides also gives status 2; exclude it with, for example, `--without adapters`.
"""

import argparse
import csv
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from safetensors import SafetensorError, deserialize

PLACES = {
    "ranks": "results/**/*.ranks.parquet",
    "answers": "results/**/*.answers.jsonl",
    "adapters": "scratch/runs/**/*.safetensors",
    "cells": "paper_tables/*/cells.csv",
    "figures": "paper_tables/*/figures/*.csv",
}
COUNTED = {
    "ranks": "rank tables",
    "answers": "answers files",
    "adapters": "tensors",
    "cells": "numbers of cells",
    "figures": "numbers of points",
}
PARTS = ("file", "tensor", "table", "row", "column", "figure", "panel", "series")
KEYS = {"cells": ("table", "row", "column"), "figures": ("figure", "panel", "series")}
NUMBERS = {"cells": ("value", "sd", "low", "high", "n"), "figures": ("x", "y")}
# Seconds and numbers computed from them; the number of devices depends on the machine.
CLOCKS = {("table3", "hours"), *(("gpu_hours", one) for one in ("ours", "ours_total", "count", "mfu", "ours_ratio"))}
CLOCK_AXES = {("recall", "x")}
SHOWN = 20  # differences of a kind that are printed

Name = tuple[tuple[str, str], ...]  # pairs of a part and its text


class UsageError(Exception):
    """A wrong call, or nothing to compare; exit status 2."""


@dataclass
class Names:
    """Translation of names of A to names of B; `used`: the rules that have been applied."""

    exact: dict[str, dict[str, str]] = field(default_factory=dict)
    prefix: dict[str, dict[str, str]] = field(default_factory=dict)
    find: dict[str, str] = field(default_factory=dict)
    used: set[tuple[str, str, str]] = field(default_factory=set)

    @classmethod
    def read(cls, path: Path) -> "Names":
        """Read the rules of a YAML file.

        Raises:
            UsageError: the file cannot be read, or has an unknown key.
        """
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise UsageError(f"{path}: cannot be read: {' '.join(str(error).split())}") from error
        known: dict[str, Any] = {"exact": PARTS, "prefix": PARTS, "find": PLACES}
        for key, rules in content.items() if isinstance(content, dict) else ((str(content), None),):
            if key not in known or not isinstance(rules, dict):
                raise UsageError(f"{path}: {key}: expected {', '.join(known)}, each with names below it")
            for part, rule in rules.items():
                texts = [rule] if key == "find" else [*rule, *rule.values()] if isinstance(rule, dict) else [None]
                if part not in known[key] or not all(isinstance(text, str) for text in texts):
                    raise UsageError(f"{path}: {key}.{part}: expected one of {', '.join(known[key])}, with texts")
        return cls(**content)

    def of(self, name: Name) -> Name:
        """Translate a name of A to its name in B."""
        return tuple((part, self._of(part, text)) for part, text in name)

    def _of(self, part: str, text: str) -> str:
        if text in self.exact.get(part, {}):
            self.used.add(("exact", part, text))
            return self.exact[part][text]
        found = [prefix for prefix in self.prefix.get(part, {}) if text.startswith(prefix)]
        if not found:
            return text
        longest = max(found, key=len)
        self.used.add(("prefix", part, longest))
        return self.prefix[part][longest] + text.removeprefix(longest)

    def unused(self) -> list[str]:
        """List the rules that have not been applied to any name."""
        rules = {"exact": self.exact, "prefix": self.prefix}
        every = [(how, part, text) for how, parts in rules.items() for part, texts in parts.items() for text in texts]
        return [f"{how} {part} {text!r}" for how, part, text in every if (how, part, text) not in self.used]


Things = dict[Name, Any]  # compared items, by name


def files(root: Path, pattern: str) -> Iterator[tuple[str, Path]]:
    """Find the files that match a pattern; pairs of the path relative to `root` and the full path."""
    return ((path.relative_to(root).as_posix(), path) for path in sorted(root.glob(pattern)) if path.is_file())


def whole_files(root: Path, pattern: str) -> Things:
    """Return each file as one item."""
    return {(("file", name),): path for name, path in files(root, pattern)}


def tensors(root: Path, pattern: str) -> Things:
    """Read type, shape and hash of the bytes of every tensor; an unreadable file is one item."""
    found: Things = {}
    for name, path in files(root, pattern):
        try:
            content = deserialize(path.read_bytes())
        except SafetensorError as error:
            found[("file", name), ("tensor", "-")] = f"cannot be read: {error}"
            continue
        for tensor, stored in content:
            hashed = hashlib.sha256(bytes(stored["data"])).hexdigest()
            found[("file", name), ("tensor", tensor)] = (stored["dtype"], tuple(stored["shape"]), hashed)
    return found


def numbers(root: Path, pattern: str, kind: str) -> Things:
    """Read every number of a CSV; `(2)` after a column marks the second of two rows with the same key."""
    found: Things = {}
    for name, path in files(root, pattern):
        seen: Counter[tuple[str, ...]] = Counter()
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            lacking = {*KEYS[kind], *NUMBERS[kind]} - {*(rows.fieldnames or ())}
            if lacking:
                raise UsageError(f"{path}: no column {', '.join(sorted(lacking))}")
            for row in rows:
                key = tuple((part, row[part]) for part in KEYS[kind])
                place = tuple(text for _, text in key)
                seen[place] += 1
                again = f" ({seen[place]})" * (seen[place] > 1)
                for column in NUMBERS[kind]:
                    number = as_number(row[column])
                    if number is not None:
                        found[(("file", name), *key, ("number", column + again))] = number
    return found


def as_number(text: str) -> float | None:
    """Parse the number in a field; None for a word."""
    try:
        return float(text)
    except ValueError:
        return None


def by_clock(name: Name) -> bool:
    """Return whether a number is measured by a clock, so that it differs between any two runs."""
    parts = dict(name)
    if "table" in parts:
        return (parts["table"], parts["column"]) in CLOCKS
    return (parts.get("figure"), parts.get("number", "").partition(" ")[0]) in CLOCK_AXES


READERS: dict[str, Callable[[Path, str], Things]] = {
    "ranks": whole_files,
    "answers": whole_files,
    "adapters": tensors,
    "cells": lambda root, pattern: numbers(root, pattern, "cells"),
    "figures": lambda root, pattern: numbers(root, pattern, "figures"),
}


# ---- descriptions of differences -------------------------------------------------------------------------------------


def unlike_tables(a: Path, b: Path) -> str:
    """Describe how two rank tables differ; "" if their bytes are equal."""
    if a.read_bytes() == b.read_bytes():
        return ""
    try:
        one, other = pd.read_parquet(a), pd.read_parquet(b)
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        return f"other bytes, and one cannot be read: {error}"
    columns = [[f"{column} ({table[column].dtype})" for column in table] for table in (one, other)]
    if columns[0] != columns[1]:
        return f"columns {', '.join(columns[0])} in A; {', '.join(columns[1])} in B"
    if len(one) != len(other):
        return f"{len(one)} rows in A, {len(other)} in B"
    apart = (one != other) & ~(one.isna() & other.isna())
    rows = apart.any(axis=1)
    if not rows.any():
        return "only the container differs: the same columns, types and values in other bytes"
    place = int(rows.to_numpy().argmax())
    column = apart.columns[apart.iloc[place]][0]
    query = " ".join(str(value) for name, value in one.iloc[place].items() if name in ("variant", "direction", "query"))
    first = f"row {place} ({query}): {column} {one[column].iloc[place]} in A, {other[column].iloc[place]} in B"
    return f"{int(rows.sum())} of {len(one)} rows differ; {first}"


def unlike_lines(a: Path, b: Path) -> str:
    """Describe how two answers files differ; "" if their bytes are equal."""
    if a.read_bytes() == b.read_bytes():
        return ""
    one, other = (path.read_text(encoding="utf-8", errors="replace").splitlines() for path in (a, b))
    if len(one) != len(other):
        return f"{len(one)} lines in A, {len(other)} in B"
    apart = [place for place, (mine, its) in enumerate(zip(one, other, strict=True)) if mine != its]
    if not apart:
        return "other ends of lines"
    return f"{len(apart)} of {len(one)} lines differ; line {apart[0] + 1}{field_apart(one[apart[0]], other[apart[0]])}"


def field_apart(mine: str, its: str) -> str:
    """Name the item and the first differing field of two lines of an answers file."""
    try:
        one, other = json.loads(mine), json.loads(its)
    except ValueError:
        return ""
    if not isinstance(one, dict) or not isinstance(other, dict):
        return ""
    keys = [key for key in sorted({*one, *other}) if one.get(key) != other.get(key)]
    shown = f", {keys[0]}: {one.get(keys[0])!r} in A, {other.get(keys[0])!r} in B" if keys else ", written otherwise"
    return f" (id {one.get('id')!r}{shown})"


def unlike_tensors(a: Any, b: Any) -> str:
    """Describe how two tensors differ; "" if they are equal."""
    if a == b:
        return ""
    if isinstance(a, str) or isinstance(b, str):
        return f"{a} in A; {b} in B"
    shapes = [f"{dtype} {'x'.join(map(str, shape))}" for dtype, shape, _ in (a, b)]
    return "other bytes" if shapes[0] == shapes[1] else f"{shapes[0]} in A, {shapes[1]} in B"


def unlike_numbers(a: float, b: float) -> str:
    """Describe two different numbers; "" if they are equal."""
    return "" if a == b else f"{a!r} in A, {b!r} in B"


UNLIKE: dict[str, Callable[[Any, Any], str]] = {
    "ranks": unlike_tables,
    "answers": unlike_lines,
    "adapters": unlike_tensors,
    "cells": unlike_numbers,
    "figures": unlike_numbers,
}


# ---- comparison ------------------------------------------------------------------------------------------------------


def compare(kind: str, a: Path, b: Path, names: Names) -> tuple[int, list[str]]:
    """Compare one kind; return the number of items that both sides have, and one line per difference.

    Raises:
        UsageError: neither side has any item, or the map gives two names of A the same name in B.
    """
    mine, its = READERS[kind](a, PLACES[kind]), READERS[kind](b, names.find.get(kind, PLACES[kind]))
    if not mine and not its:
        raise UsageError(f"nothing to compare: neither has {PLACES[kind]}; `--without {kind}` leaves them out")
    translated = {name: names.of(name) for name in mine}
    twice = [name for name, count in Counter(translated.values()).items() if count > 1]
    if twice:
        raise UsageError(f"the map gives several names of A one in B: {said(twice[0])}")
    clocked = {there for here, there in translated.items() if by_clock(here)}
    here = {there: name for name, there in translated.items() if there not in clocked}
    left = {name for name in its if name not in clocked and not by_clock(name)}
    found = [f"{said(here[there])}: not in B" + there_as(here[there], there) for there in here if there not in left]
    found += [f"{said(name)}: not in A" for name in left if name not in here]
    both = [there for there in here if there in left]
    for there in both:
        unlike = UNLIKE[kind](mine[here[there]], its[there])
        found += [f"{said(here[there])}{there_as(here[there], there)}: {unlike}"] if unlike else []
    return len(both), sorted(found)


def said(name: Name) -> str:
    """Format a name as one line."""
    (_, file), *rest = name
    return f"{file}: {' | '.join(text for _, text in rest)}" if rest else file


def there_as(here: Name, there: Name) -> str:
    """Format the name in B if it differs from the name in A."""
    return "" if here == there else f" (in B {said(there)})"


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="equal_results.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("a", type=Path, metavar="A", help="a checkout with a finished run")
    parser.add_argument("b", type=Path, metavar="B", help="another checkout with a finished run")
    parser.add_argument("--map", type=Path, metavar="FILE", help="YAML file that translates names of A to names of B")
    parser.add_argument(
        "--without", action="append", default=[], choices=list(PLACES), help="exclude a kind; may be repeated"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Print the differences and the number of compared items, and return the exit status."""
    call = parsed(arguments)
    kinds = [kind for kind in PLACES if kind not in call.without]
    try:
        for side in (call.a, call.b):
            if not side.is_dir():
                raise UsageError(f"{side}: is no folder")
        if not kinds:
            raise UsageError("nothing to compare: every kind is left out")
        names = Names.read(call.map) if call.map else Names()
        found = {kind: compare(kind, call.a, call.b, names) for kind in kinds}
    except (UsageError, OSError, UnicodeDecodeError) as error:
        print(f"equal_results: {error}", file=sys.stderr)
        return 2
    for kind, (_, lines) in found.items():
        for line in lines[:SHOWN]:
            print(f"{kind}: {line}")
        if len(lines) > SHOWN:
            print(f"{kind}: and {len(lines) - SHOWN} more")
    for rule in names.unused():
        print(f"map: {rule} translates nothing")
    for kind, (count, lines) in found.items():
        print(f"{COUNTED[kind]}: {count} in both, {len(lines)} different or in one alone")
    different = sum(len(lines) for _, lines in found.values())
    print(f"{'different' if different else 'equal'}: {call.a} and {call.b}")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())

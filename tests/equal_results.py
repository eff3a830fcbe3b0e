"""Two finished runs number by number: `python tests/equal_results.py A B [--map names.yaml]`.

A and B are checkouts, or folders that hold what a run leaves: `results/<preset>`, `paper_tables/<preset>` and, in
`scratch/runs`, the adapters. `slq compare` asks whether two results agree within tolerances; this asks whether they are
the same, e.g. before and after a change of the code that must change no number. It imports nothing of the package.

    kind      compared
    ranks     results/**/*.ranks.parquet: bytes
    answers   results/**/*.answers.jsonl: bytes
    adapters  scratch/runs/**/*.safetensors: type, shape and bytes of every tensor; not the file's header
    cells     paper_tables/*/cells.csv: value, sd, low, high and n of every cell, as numbers; not hours
    figures   paper_tables/*/figures/*.csv: x and y of every point, as numbers; not hours

Hours are what clocks measured (CLOCKS below): no two runs share them. FLOPs are compared. A cell's word (a verdict, the
name of a device) is no number; a number on one side alone is a difference, and so is a file, tensor, cell or point. A
rank table of other bytes with the same columns, types and values is a difference too, and said to be one of the
container alone.

Names are those of A. `--map` says what they are in B:

    exact:
      row: {rows/mini-clip: baselines/mini-clip}
    prefix:
      file: {results/mini/rows/: results/mini/baselines/}

A rule belongs to a part of a name: `file` (a path from the checkout on), `tensor`, `table`, `row`, `column`, `figure`,
`panel` or `series`. An exact rule goes before prefixes, the longest prefix before the others; a part without a rule
keeps its name. Of a kind that has its files elsewhere in B, `find` gives the patterns that find them there:

    find: {adapters: scratch/adapters/**/*.safetensors}

Exit status: 0 equal; 1 different; 2 wrong call, or nothing to compare. A kind that neither side has stops it as well:
`--without adapters` leaves it out.
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
# Seconds, and what is made of them; the devices that were counted belong to the machine.
CLOCKS = {("table3", "hours"), *(("gpu_hours", one) for one in ("ours", "ours_total", "count", "mfu", "ours_ratio"))}
CLOCK_AXES = {("recall", "x")}
SHOWN = 20  # differences of a kind that are printed

Name = tuple[tuple[str, str], ...]  # part, and what it is called


class UsageError(Exception):
    """The call cannot be answered."""


@dataclass
class Names:
    """What names of A are in B; `used`: the rules that have translated something."""

    exact: dict[str, dict[str, str]] = field(default_factory=dict)
    prefix: dict[str, dict[str, str]] = field(default_factory=dict)
    find: dict[str, str] = field(default_factory=dict)
    used: set[tuple[str, str, str]] = field(default_factory=set)

    @classmethod
    def read(cls, path: Path) -> "Names":
        """Those of a YAML file.

        Raises:
            UsageError: it cannot be read, or has a key that means nothing.
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
        """A name of A as B has it."""
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
        """Rules that have translated nothing."""
        rules = {"exact": self.exact, "prefix": self.prefix}
        every = [(how, part, text) for how, parts in rules.items() for part, texts in parts.items() for text in texts]
        return [f"{how} {part} {text!r}" for how, part, text in every if (how, part, text) not in self.used]


Things = dict[Name, Any]  # what is compared, by name


def files(root: Path, pattern: str) -> Iterator[tuple[str, Path]]:
    """The files of a pattern by their path below `root`."""
    return ((path.relative_to(root).as_posix(), path) for path in sorted(root.glob(pattern)) if path.is_file())


def whole_files(root: Path, pattern: str) -> Things:
    """Each file by itself."""
    return {(("file", name),): path for name, path in files(root, pattern)}


def tensors(root: Path, pattern: str) -> Things:
    """Type, shape and hash of the bytes of every tensor; a file that cannot be read is one thing."""
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
    """Every number of a CSV, words left out; of several rows of one name the second has `(2)` behind its column."""
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
    """The number that a field holds, None of a word."""
    try:
        return float(text)
    except ValueError:
        return None


def by_clock(name: Name) -> bool:
    """A number that no two runs share."""
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


# ---- what is said of two things that are not equal -------------------------------------------------------------------


def unlike_tables(a: Path, b: Path) -> str:
    """How two rank tables differ, "" if their bytes are the same."""
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
    """How two answers files differ, "" if their bytes are the same."""
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
    """The item and the first of its fields that differ, of two lines of an answers file."""
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
    """How two tensors differ, "" if they do not."""
    if a == b:
        return ""
    if isinstance(a, str) or isinstance(b, str):
        return f"{a} in A; {b} in B"
    shapes = [f"{dtype} {'x'.join(map(str, shape))}" for dtype, shape, _ in (a, b)]
    return "other bytes" if shapes[0] == shapes[1] else f"{shapes[0]} in A, {shapes[1]} in B"


def unlike_numbers(a: float, b: float) -> str:
    """Two numbers that are not the same one, "" if they are."""
    return "" if a == b else f"{a!r} in A, {b!r} in B"


UNLIKE: dict[str, Callable[[Any, Any], str]] = {
    "ranks": unlike_tables,
    "answers": unlike_lines,
    "adapters": unlike_tensors,
    "cells": unlike_numbers,
    "figures": unlike_numbers,
}


# ---- A beside B ------------------------------------------------------------------------------------------------------


def compare(kind: str, a: Path, b: Path, names: Names) -> tuple[int, list[str]]:
    """How many things of a kind both sides have, and each difference in a line.

    Raises:
        UsageError: neither side has any, or two names of A are one in B.
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
    """A name in a line."""
    (_, file), *rest = name
    return f"{file}: {' | '.join(text for _, text in rest)}" if rest else file


def there_as(here: Name, there: Name) -> str:
    """What a name of A is in B, if it is another."""
    return "" if here == there else f" (in B {said(there)})"


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    """The call."""
    parser = argparse.ArgumentParser(
        prog="equal_results.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("a", type=Path, metavar="A", help="a checkout with a finished run")
    parser.add_argument("b", type=Path, metavar="B", help="another")
    parser.add_argument("--map", type=Path, metavar="FILE", help="what names of A are in B (YAML)")
    parser.add_argument(
        "--without", action="append", default=[], choices=list(PLACES), help="leave a kind out; may be given again"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Print what was compared and every difference; the exit status."""
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

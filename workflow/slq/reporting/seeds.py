"""What captions and notes say of seeds: which ones there are, and which rows are not over all of them."""

from collections.abc import Iterable, Mapping, Sequence

from slq.reporting.cells import Cell
from slq.reporting.grid import Group
from slq.reporting.layout import METHODS, Layout


def runs_shown(layout: Layout, mean: bool = True) -> str:
    """The end of a table's caption: the preset, its seeds and, of several, what a cell holds.

    mean: else a cell is of the first seed's run
    """
    if layout.several and not mean:
        return f"Preset {layout.preset}, seed {layout.seeds[0]}."
    cells = "; mean ± standard deviation" if layout.several else ""
    return f"Preset {layout.preset}, {layout.which_seeds}{cells}."


def by_row(groups: Iterable[Group]) -> dict[str, Sequence[Cell]]:
    """The cells of a table whose rows are methods of a backbone, by `<backbone>/<method>`."""
    return {row.key: row.cells for group in groups for row in group.rows}


def fewer_seeds(layout: Layout, cells: Mapping[str, Sequence[Cell]]) -> tuple[str, ...]:
    """The note on methods with a number that is not over every seed of the layout; no note if there is none.

    Args:
        cells: of a table, by `<backbone>/<method>`; those of others are left alone
    """
    short = []
    for backbone in layout.backbones:
        for method in METHODS:
            seeds = len(layout.seeds_of(method))
            counts = sorted({cell.n for cell in cells.get(f"{backbone.name}/{method}", ()) if cell.n is not None})
            if counts and counts[0] < seeds:
                over = " or ".join(map(str, counts))
                short.append(f"{METHODS[method]} on {backbone.label} over {over} of {seeds} seeds")
    return (f"Not all runs exist: {'; '.join(short)}.",) if short else ()

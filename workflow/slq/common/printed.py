"""Characters that can be printed in all output formats; LaTeX tables, typeset by pdflatex, support the fewest."""

import re
import unicodedata

# The characters that pdflatex can print with the packages in paper_tables/templates/tables.tex.j2: ASCII, most of
# Latin-1 and Latin Extended-A, some punctuation, and the characters that `slq.reporting.tables.escape_latex` writes as
# mathematics. A test typesets all of them.
DRAWN = re.compile(
    "[ -~\u00a1-\u00aa\u00ac\u00ae-\u00ba\u00bc-\u00cf\u00d1-\u00dd\u00df-\u00ef\u00f1-\u00fd\u00ff-\u0103\u0106-\u010f"
    "\u0112-\u0117\u011a-\u0125\u0128-\u012d\u0130-\u0137\u0139-\u013e\u0141-\u0148\u014c-\u0165\u0168-\u0171"
    "\u0174-\u017e\u0218-\u021b\u2010-\u2015\u2018\u2019\u201c\u201d\u2020-\u2022\u2026\u20ac\u2122\u2190-\u2193\u2212]"
)


def find_undrawn(text: str) -> list[str]:
    """List the distinct characters of a text that pdflatex cannot print; a letter and its accent are one character."""
    return [one for one in dict.fromkeys(unicodedata.normalize("NFC", text)) if not DRAWN.match(one)]


def name_character(character: str) -> str:
    """Return the code point of a character, such as U+4E2D."""
    return f"U+{ord(character):04X}"

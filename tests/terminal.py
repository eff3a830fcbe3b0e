"""Output of a command on a terminal of 120 columns, as lines or as a picture.

python tests/terminal.py OUT.png COMMAND...     needs a Chromium; for docs/screen.png use tests/pictures.py screen
"""

import html
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import time
from fcntl import ioctl
from pathlib import Path

from PIL import Image

COLUMNS = 120
NUM_COLORS = 256  # colours of a picture
CODES = re.compile(r"\x1b\[[\d;]*[mK]")
COLOR = re.compile(r"\x1b\[(\d+)m(.*?)\x1b\[0m")
COLORS = {"31": "#e06c75", "32": "#98c379", "33": "#e5c07b", "90": "#7f848e"}
PAGE = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; background: #282c34; }}
pre {{ margin: 16px; width: {columns}ch; color: #d7dae0; font: 13px/18px "DejaVu Sans Mono", monospace; }}
</style><pre>{text}</pre>"""
LINE_HEIGHT, CHARACTER_WIDTH, MARGIN = 18, 8, 16  # pixels


def run_on_a_terminal(command: list[str], folder: Path, columns: int = COLUMNS, **environment: str) -> tuple[int, str]:
    """Run a command on a terminal, for at most an hour; return its exit status and its output."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    inherited = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "NO_COLOR")}
    streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    with subprocess.Popen(command, cwd=folder, env=inherited | {"TERM": "xterm"} | environment, **streams) as process:
        os.close(theirs)
        written, end = b"", time.monotonic() + 3600
        while process.poll() is None or select.select([ours], [], [], 0)[0]:
            if time.monotonic() > end:
                process.kill()
            if select.select([ours], [], [], 0.1)[0]:
                try:
                    written += os.read(ours, 1 << 16)
                except OSError:  # the command has closed its end
                    break
    os.close(ours)
    return process.returncode, written.decode(errors="replace")


def every_line(written: str) -> list[str]:
    """Return all lines that were shown, including every state of an overwritten line."""
    return [line for part in CODES.sub("", written).split("\n") for line in part.split("\r")]


def last_lines(written: str) -> list[str]:
    """Return the lines on the screen at the end, with their colours."""
    lines = [line.rstrip("\r").rpartition("\x1b[2K")[2] for line in written.split("\n")]
    return lines[:-1] if lines and not lines[-1] else lines


def draw_picture(written: str, out: Path) -> None:
    """Draw the final screen of a terminal as a PNG."""
    lines = last_lines(written)
    text = "\n".join(COLOR.sub(_colored, html.escape(line)) for line in lines)
    size = (COLUMNS * CHARACTER_WIDTH + 2 * MARGIN, len(lines) * LINE_HEIGHT + 2 * MARGIN)
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "screen.html"
        page.write_text(PAGE.format(columns=COLUMNS, text=text), encoding="utf-8")
        take_screenshot(page, size, out)
    with Image.open(out) as picture:
        save_small(picture.convert("RGB"), out)


def save_small(picture: Image.Image, out: Path) -> None:
    """Save a picture as a PNG with a palette, which is a third as large for text and plain colours."""
    picture.quantize(NUM_COLORS, dither=Image.Dither.NONE).save(out, optimize=True)


def take_screenshot(page: Path, size: tuple[int, int], out: Path) -> None:
    """Save a screenshot of a page in a browser window of this size in pixels."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        sys.exit("no Chromium is on PATH, which draws the picture")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={size[0]},{size[1]}"]
    with tempfile.TemporaryDirectory() as profile:
        options += [f"--user-data-dir={profile}", f"--screenshot={out.resolve()}", page.resolve().as_uri()]
        answer = subprocess.run([browser, *options], capture_output=True, text=True)
    if answer.returncode or not out.is_file():
        sys.exit(f"{browser} made no picture of {page}:\n{answer.stderr}")


def _colored(found: re.Match[str]) -> str:
    """Return a coloured part as HTML."""
    return f'<span style="color: {COLORS[found[1]]}">{found[2]}</span>'


def main() -> int:
    """Run a command, draw its screen, and return its exit status."""
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    status, written = run_on_a_terminal(sys.argv[2:], Path.cwd())
    draw_picture(written, Path(sys.argv[1]))
    return status


if __name__ == "__main__":
    sys.exit(main())

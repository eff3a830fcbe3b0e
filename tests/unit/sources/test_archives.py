"""Archives by URL: fetched from a server on loopback, resumed, verified and unpacked."""

import base64
import hashlib
import io
import json
import random
import resource
import signal
import stat
import struct
import subprocess
import time
import zipfile

import pytest

from fetching import check_absent, check_whole, command, environment, fetch, files, refused
from loopback import Answer, Files, serve

URL = "http://images.example.org/zips/train.zip"  # a server of no real name: SLQ_MIRROR leads to the one on loopback
PICTURES = {f"train/{number:03}.jpg": random.Random(number).randbytes(4000) for number in range(50)}
WANTED = {"files": ["train/*.jpg"], "count": 50}
OTHERS = {"train/readme.txt": b"not asked for", "other/000.jpg": b"nor this"}


def zipped(members, link=""):
    """Bytes of an archive; `link` names a member that is a symbolic link."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in members.items():
            member = zipfile.ZipInfo(name)
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = ((stat.S_IFLNK if name == link else stat.S_IFREG) | 0o644) << 16
            archive.writestr(member, body)
    return buffer.getvalue()


ARCHIVE = zipped(PICTURES | OTHERS)
HASH = "md5:" + hashlib.md5(ARCHIVE).hexdigest()
PART = {"archive": URL, "hash": HASH, "bytes": len(ARCHIVE), **WANTED}
UNKNOWN = {"archive": URL, **WANTED}  # neither bytes nor hash in the table


@pytest.fixture
def server():
    with serve(Files(files={"/zips/train.zip": ARCHIVE})) as site:
        yield site


# A process that kills itself before step `moment`: a block of a transfer, or a file that gets its final name.
KILLED = """
import itertools, os, signal, sys
import slq.sources.download as download
from slq.jobs import main

steps, replace = itertools.count(), os.replace

def step():
    if next(steps) == {moment}:
        os.kill(os.getpid(), signal.SIGKILL)

class Bar(download.Progress):
    def update(self, count):
        step()
        return super().update(count)

def replace_in_steps(*paths):
    step()
    replace(*paths)

download.BLOCK_BYTES, download.Progress, os.replace = 9_000, Bar, replace_in_steps
sys.exit(main(sys.argv[1:]))
"""


def mirror(server):
    return {"SLQ_MIRROR": f"http://images.example.org={server.address}"}


@pytest.fixture
def bring(server, tmp_path):
    """Function that fetches a part from the server."""
    return lambda part=PART, **more: fetch(tmp_path, [part], **mirror(server), **more)


def ranges(server):
    return [headers.get("range") for _, _, headers in server.log]


@pytest.mark.parametrize("part", [PART, UNKNOWN], ids=["hash known", "hash not known"])
def test_the_files_that_are_asked_for_are_there_and_locked(server, bring, tmp_path, part):
    answer = bring(part)
    assert answer.returncode == 0, answer.stderr
    check_whole(tmp_path, PICTURES)
    entry = {"bytes": len(ARCHIVE), "sha256": hashlib.sha256(ARCHIVE).hexdigest()}
    assert json.loads((tmp_path / "sources.lock/mine.json").read_text()) == {URL: entry}
    assert not list(tmp_path.rglob("train.zip*")), "the archive goes when its files are in their places"
    (tmp_path / "out/manifest.json").unlink()
    server.log.clear()
    assert bring(part, HF_HUB_OFFLINE="1").returncode == 0
    check_whole(tmp_path, PICTURES)
    assert server.log == []


def test_a_transfer_that_is_cut_goes_on_in_the_same_call(server, bring, tmp_path):
    server.cuts = [0.1, 0.5, 0.99]
    answer = bring()
    assert answer.returncode == 0, answer.stderr
    check_whole(tmp_path, PICTURES)
    starts = [int(asked.removeprefix("bytes=").rstrip("-")) for asked in ranges(server)[1:]]
    assert ranges(server)[0] is None and starts == sorted(starts) and starts[0] == len(ARCHIVE) // 10


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_what_a_call_that_gave_up_has_left_is_continued(server, bring, tmp_path, share):
    server.cuts = [share, *[0.0] * 6]
    refused(bring(), f"{URL}: not fetched: the connection ended after", "the download resumes after the")
    check_absent(tmp_path)
    assert files(tmp_path) == {}
    server.log.clear()
    assert bring().returncode == 0
    check_whole(tmp_path, PICTURES)
    assert ranges(server) == [f"bytes={int(len(ARCHIVE) * share)}-"]


def test_a_server_without_ranges_starts_over(server, bring, tmp_path):
    server.ranges, server.cuts = False, [0.5]
    assert bring().returncode == 0
    check_whole(tmp_path, PICTURES)


@pytest.mark.parametrize("others", [{}, OTHERS], ids=["of another length", "of the same length"])
def test_an_archive_that_changes_while_it_is_fetched_is_not_stitched_together(server, bring, tmp_path, others):
    server.cuts = [0.5, *[0.0] * 6]
    refused(bring(UNKNOWN), "the connection ended")
    renewed = {name: body[::-1] for name, body in PICTURES.items()}
    server.files["/zips/train.zip"] = zipped(renewed | others)
    assert (len(server.files["/zips/train.zip"]) == len(ARCHIVE)) == bool(others)
    assert bring(UNKNOWN).returncode == 0
    check_whole(tmp_path, renewed)


def test_a_flipped_byte_is_found_by_the_hash(server, bring, tmp_path):
    server.damage = True
    refused(bring(), f"{URL}: its md5 is", f"expected {HASH[4:]}; it was removed; fetch it again")
    check_absent(tmp_path)
    assert files(tmp_path) == {} and not (tmp_path / "sources.lock").exists()
    server.damage = False
    assert bring().returncode == 0
    check_whole(tmp_path, PICTURES)


def test_a_flipped_byte_in_a_file_is_found_without_a_hash(server, bring, tmp_path):
    place = ARCHIVE.index(b"train/030.jpg") + 2000
    server.files["/zips/train.zip"] = ARCHIVE[:place] + bytes([ARCHIVE[place] ^ 1]) + ARCHIVE[place + 1 :]
    refused(bring(UNKNOWN), f"{URL}: not a valid zip archive", "train/030.jpg")
    check_absent(tmp_path)
    assert "train/030.jpg" not in files(tmp_path) and not (tmp_path / "sources.lock").exists()


def test_an_archive_that_is_not_the_locked_one_stops(server, bring, tmp_path):
    assert bring(UNKNOWN).returncode == 0
    (tmp_path / "out/train/007.jpg").unlink()
    server.files["/zips/train.zip"] = zipped(PICTURES | {"train/007.jpg": b"other"})
    refused(bring(UNKNOWN), f"{URL}: has changed since it was locked: expected bytes", "delete its entry in")
    check_absent(tmp_path)
    assert "train/007.jpg" not in files(tmp_path)


BAD = {
    "a member that leaves the folder": (
        {"train/../../evil.jpg": b"x"},
        "",
        "has a path with '..', which leaves the folder",
    ),
    "a member with an absolute path": ({"/tmp/evil.jpg": b"x"}, "", "has an absolute path"),
    "a member of a drive": ({"C:/evil.jpg": b"x"}, "", "has an absolute path"),
    "a link": ({"train/050.jpg": b"/etc/passwd"}, "train/050.jpg", "is a link or a device"),
    "possible zip bomb": ({"train/049.jpg": bytes(100_000_000)}, "", "times as many; refused as a possible zip bomb"),
    "a member less": ({"train/049.jpg": None}, "", "found 49 files train/*.jpg, expected 50"),
    "no member": (dict.fromkeys(PICTURES), "", "found no file train/*.jpg"),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_archive_leaves_nothing(server, bring, tmp_path, fault):
    changes, link, words = BAD[fault]
    members = {name: body for name, body in (PICTURES | OTHERS | changes).items() if body is not None}
    server.files["/zips/train.zip"] = zipped(members, link)
    refused(bring(UNKNOWN), URL, words)
    assert files(tmp_path) == {} and not list(tmp_path.rglob("evil*")) and not list(tmp_path.rglob("train.zip*"))
    assert not (tmp_path / "sources.lock").exists()


def test_a_bomb_that_understates_its_size_writes_no_byte_more(server, bring, tmp_path):
    bomb = zipped(PICTURES | {"train/049.jpg": bytes(100_000_000)})
    server.files["/zips/train.zip"] = bomb.replace(struct.pack("<I", 100_000_000), struct.pack("<I", 4000))
    refused(bring(UNKNOWN), f"{URL}: not a valid zip archive", "train/049.jpg")
    assert files(tmp_path).keys() == PICTURES.keys() - {"train/049.jpg"}


def test_a_web_page_is_no_archive(server, bring, tmp_path):
    server.refusals = [Answer(200, {"Content-Type": "text/html; charset=utf-8"}, b"<html>Please sign in</html>")]
    refused(bring(), f"{URL}: is a web page, expected a file")
    server.files["/zips/train.zip"] = b"<html>Please sign in</html>"  # the same page, not sent as HTML
    refused(bring(UNKNOWN), f"{URL}: not a valid zip archive")
    refused(bring(), f"{URL}: 27 bytes, expected")
    assert files(tmp_path) == {}


@pytest.mark.parametrize(
    ("refusals", "words"),
    [
        ([Answer(404)], "the server answers 404 Not Found; check the address in config.yaml"),
        ([Answer(403)], "the server answers 403 Forbidden"),
        ([Answer(503)] * 99, "the server answers 503 Service Unavailable; fetch again"),
        ([Answer(429, {"Retry-After": "3600"})], "429 Too Many Requests and asks to wait 3600 s; fetch again"),
    ],
    ids=["404", "403", "503 for good", "429 for an hour"],
)
def test_a_refusal_is_one_message(server, bring, tmp_path, refusals, words):
    server.refusals = refusals
    refused(bring(), f"{URL}: not fetched: ", words)
    check_absent(tmp_path)


def test_a_busy_server_is_asked_again(server, bring, tmp_path):
    server.refusals = [Answer(429, {"Retry-After": "1"}), Answer(502)]
    before = time.monotonic()
    assert bring().returncode == 0
    assert time.monotonic() - before > 1
    check_whole(tmp_path, PICTURES)


def test_no_server_is_one_message(tmp_path):
    answer = fetch(tmp_path, [PART], SLQ_MIRROR="http://images.example.org=http://127.0.0.1:9")
    refused(answer, f"{URL}: not fetched: the server cannot be reached")
    refused(fetch(tmp_path, [PART], SLQ_MIRROR="nowhere"), "SLQ_MIRROR: 'nowhere' is not")


def test_a_proxy_of_the_environment_is_asked(server, tmp_path):
    """The proxy gets its login and the whole address."""
    server.files[URL] = ARCHIVE
    proxy = server.address.replace("http://", "http://me:p%40ss@")
    answer = fetch(tmp_path, [PART], http_proxy=proxy, HTTP_PROXY=proxy, no_proxy="", NO_PROXY="")
    assert answer.returncode == 0, answer.stderr
    check_whole(tmp_path, PICTURES)
    ((_, path, headers),) = server.log
    assert path == URL
    assert headers["proxy-authorization"] == "Basic " + base64.b64encode(b"me:p@ss").decode()


def test_a_proxy_without_a_scheme_is_asked(server, tmp_path):
    server.files[URL] = ARCHIVE
    proxy = server.address.removeprefix("http://")
    answer = fetch(tmp_path, [PART], http_proxy=proxy, HTTP_PROXY=proxy, no_proxy="", NO_PROXY="")
    assert answer.returncode == 0, answer.stderr
    check_whole(tmp_path, PICTURES)


def test_a_page_that_refuses_a_range_is_no_web_page_in_place_of_the_file(server, bring, tmp_path):
    """The local part is longer than the file, and the server states that in HTML, as nginx does."""
    begun = Answer(200, {"Content-Length": "99"}, b"begun")
    server.refusals = [begun, Answer(416, {"Content-Type": "text/html"}, b"<html>416</html>")]
    answer = bring()
    assert answer.returncode == 0, answer.stderr
    check_whole(tmp_path, PICTURES)


@pytest.mark.parametrize("limit", [len(ARCHIVE) // 2, len(ARCHIVE) + 1], ids=["in the transfer", "never"])
def test_a_full_disk_keeps_what_has_come(server, bring, tmp_path, limit):
    """A limit on the size of a file simulates the disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        answer = bring()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    if limit < len(ARCHIVE):
        refused(
            answer, "out/.fetch/train.zip: cannot be written: File too large; fetch again: the download resumes after"
        )
        check_absent(tmp_path)
        assert files(tmp_path) == {}
        server.log.clear()
        assert bring().returncode == 0
        assert ranges(server) == [f"bytes={limit}-"]
    check_whole(tmp_path, PICTURES)


def test_too_little_room_is_said_before_anything_is_fetched(server, bring, tmp_path):
    refused(bring(PART | {"bytes": 10**18}), f"for {URL} needs 1000000000.0 GB", "free disk space")
    assert server.log == [] and files(tmp_path) == {}


def test_killed_at_twenty_moments_it_ends_like_an_undisturbed_one(server, tmp_path):
    """Kills fall within the transfer, then ever later between two files; no final name has a partial file."""
    for moment in [3] * 10 + [*range(6, 54, 5)]:
        answer = fetch(tmp_path, [PART], code=KILLED.format(moment=moment), **mirror(server))
        assert answer.returncode == -signal.SIGKILL
        check_absent(tmp_path)
        there = {name: body for name, body in files(tmp_path).items() if not name.endswith(".tmp")}
        assert there.items() <= PICTURES.items()
    assert len(there) > 45, "the last ones come late"
    answer = fetch(tmp_path, [PART], **mirror(server))
    assert answer.returncode == 0, answer.stderr
    check_whole(tmp_path, PICTURES)
    transfers = [int((asked or "bytes=0-")[6:-1]) for asked in ranges(server)]
    assert transfers == sorted(set(transfers)) and len(transfers) > 5, "no byte was fetched twice"


def test_two_processes_do_not_fetch_the_same_source(server, tmp_path):
    """The second stops with a message; the first ends as if it were the only one."""
    server.refusals = [Answer(503, {"Retry-After": "5"})]
    first = subprocess.Popen(
        command(tmp_path, [PART]), env=environment(tmp_path, **mirror(server)), stderr=subprocess.PIPE, text=True
    )
    while not server.log:
        time.sleep(0.01)
    refused(
        fetch(tmp_path, [PART], **mirror(server)),
        "out: another process is fetching this source; wait for it, or stop it",
    )
    assert first.wait(60) == 0
    first.stderr.close()
    check_whole(tmp_path, PICTURES)
    assert len(server.log) == 2


# ---- files that a user supplies --------------------------------------------------------------------------------------


def test_a_supplied_folder_joins_an_archive(server, tmp_path):
    photos = tmp_path / "mine" / "photos"
    photos.mkdir(parents=True)
    bodies = {f"photos/{number}.jpg": bytes([number]) for number in range(3)}
    for name, body in bodies.items():
        (tmp_path / "mine" / name).write_bytes(body)
    (photos / "notes.txt").write_text("not asked for")
    supplied = {"local_dir": str(tmp_path / "mine"), "files": ["photos/*.jpg"], "instructions": "ask the authors"}
    answer = fetch(tmp_path, [supplied, PART], **mirror(server))
    assert answer.returncode == 0, answer.stderr
    check_whole(tmp_path, bodies | PICTURES)
    assert list(json.loads((tmp_path / "sources.lock/mine.json").read_text())) == [URL]
    refused(
        fetch(tmp_path, [supplied | {"count": 4}, PART], **mirror(server)), "found 3 files photos/*.jpg, expected 4"
    )


def test_a_missing_supplied_folder_says_what_to_do(tmp_path):
    supplied = {"local_dir": str(tmp_path / "mine"), "files": ["photos/*.jpg"], "instructions": "ask the authors"}
    refused(fetch(tmp_path, [supplied]), f"{tmp_path / 'mine'}: no such folder; ask the authors")
    check_absent(tmp_path)

"""A bundle: equal files give equal bytes, and only packed files are read from it."""

import gzip
import io
import os
import shutil
import subprocess
import tarfile
import zlib

import numpy as np
import pytest

from checkout import ROOT
from comparing import CONFIG, compared, draw_run
from slq.cli import main
from slq.reporting.comparison.bundles import MANIFEST

MEMBER = "results/mini/mini-a/slq/seed1/retrieval/mini-f.json"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Results of a preset with their tables beside them, which tests copy."""
    folder = draw_run(tmp_path_factory.mktemp("drawn"), np.random.default_rng(1))
    for name in ("cells.csv", "tables.tex"):
        path = folder.parents[1] / "paper_tables/mini" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("table,row\n")
    return folder


@pytest.fixture
def results(drawn, tmp_path):
    shutil.copytree(drawn.parents[1], tmp_path / "lab")
    return tmp_path / "lab/results/mini"


@pytest.fixture
def bundle(results, tmp_path):
    assert main(["bundle", str(results), str(tmp_path / "mini.tar.gz")]) == 0
    return tmp_path / "mini.tar.gz"


def members(path):
    """Contents by name, in the archive's order."""
    with tarfile.open(path) as archive:
        return {one.name: archive.extractfile(one).read() for one in archive}


def pack(path, contents, **of_each):
    """Write an archive of these contents as another program would."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            for key, value in of_each.items():
                setattr(member, key, value)
            archive.addfile(member, io.BytesIO(content))


def refused(path, capsys):
    capsys.readouterr()
    assert main(["compare", str(path), str(path), *CONFIG]) == 1
    answer = capsys.readouterr()
    assert answer.out == ""
    return answer.err


def test_the_same_files_are_the_same_bytes(results, bundle, tmp_path, capsys):
    """The second bundle is written from a copy with other dates, modes, order of writing and name."""
    copy = tmp_path / "elsewhere/results/mini"
    for path in sorted(results.rglob("*"), reverse=True):
        if path.is_file():
            target = copy / path.relative_to(results)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
            target.chmod(0o600)
            os.utime(target, (1, 1))
    shutil.copytree(results.parents[1] / "paper_tables", tmp_path / "elsewhere/paper_tables")
    (copy / ".unfinished.tmp").write_text("of a writer that was killed")
    capsys.readouterr()
    assert main(["bundle", str(copy), str(tmp_path / "again.tar.gz")]) == 0
    assert (tmp_path / "again.tar.gz").read_bytes() == bundle.read_bytes()
    assert capsys.readouterr().out == f"{tmp_path}/again.tar.gz: {len(members(bundle)) - 1} files\n"


def test_a_bundle_holds_the_results_their_cells_and_hashes_that_sha256sum_checks(results, bundle, tmp_path):
    found = members(bundle)
    there = [path for path in results.rglob("*") if path.is_file()]
    inside = {f"results/mini/{path.relative_to(results).as_posix()}": path.read_bytes() for path in there}
    inside |= {"config/0-config.yaml": (ROOT / "config.yaml").read_bytes()}
    assert found == {MANIFEST: found[MANIFEST], "paper_tables/mini/cells.csv": b"table,row\n"} | inside
    assert list(found) == [MANIFEST, *sorted(found.keys() - {MANIFEST})]
    with tarfile.open(bundle) as archive:
        assert {(one.mtime, one.uid, one.uname, one.mode) for one in archive} == {(0, 0, "", 0o644)}
        archive.extractall(tmp_path / "unpacked", filter="data")
    subprocess.run(["sha256sum", "--check", "--strict", MANIFEST], cwd=tmp_path / "unpacked", check=True)


def test_a_bundle_agrees_with_its_folder(results, bundle, tmp_path):
    found = compared(tmp_path / "out.json", bundle, results)
    assert found["counts"]["agrees"] == len(found["cells"]) == 14 and found["a"]["kind"] == "bundle"
    assert f"{bundle}:{MEMBER}" in next(cell for cell in found["cells"] if cell["benchmark"] == "mini-f")["files"]


def unchanged(damaged, bundle):
    try:
        return gzip.decompress(damaged.read_bytes()) == gzip.decompress(bundle.read_bytes())
    except (OSError, EOFError, zlib.error):
        return False


def test_a_corrupted_byte_is_an_error_that_names_a_member(bundle, capsys, tmp_path):
    """This holds anywhere, except for the rare bit of gzip's that encodes the same bytes in another way."""
    whole, damaged = bundle.read_bytes(), tmp_path / "damaged.tar.gz"
    for place in np.linspace(12, len(whole) - 9, 25).astype(int):  # behind the header of gzip
        damaged.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        if unchanged(damaged, bundle):
            continue
        message = refused(damaged, capsys)
        assert message.startswith(f"slq: error: {damaged}: ") and " member " in message, message


def test_a_truncated_bundle_is_an_error_that_names_a_member(bundle, capsys, tmp_path):
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(bundle.read_bytes()[:-2000])
    assert f"slq: error: {cut}: damaged at or after member results/mini/" in refused(cut, capsys)


def changed(found):
    return found | {MEMBER: found[MEMBER] + b" "}


def without(found):
    return {name: content for name, content in found.items() if name != MEMBER}


def foreign(found):
    return found | {"results/mini/more.json": b"{}"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed, f"checksum of member {MEMBER} differs from {MANIFEST}"),
        (without, f"member {MEMBER} occurs 0 times; expected once"),
        (foreign, f"member results/mini/more.json is not in {MANIFEST}"),
    ],
)
def test_what_is_not_as_the_manifest_says_is_named(bundle, capsys, tmp_path, change, message):
    pack(tmp_path / "other.tar.gz", change(members(bundle)))
    assert message in refused(tmp_path / "other.tar.gz", capsys)


def test_a_member_that_stands_twice_is_named(bundle, capsys):
    found = members(bundle)
    plain = io.BytesIO(gzip.decompress(bundle.read_bytes()))
    with tarfile.open(fileobj=plain, mode="a") as archive:
        again = tarfile.TarInfo(MEMBER)
        again.size = len(found[MEMBER])
        archive.addfile(again, io.BytesIO(found[MEMBER]))
    bundle.write_bytes(gzip.compress(plain.getvalue()))
    assert f"member {MEMBER} occurs 2 times; expected once" in refused(bundle, capsys)


@pytest.mark.parametrize("name", ["../outside.json", "results/../../outside.json"])
def test_nothing_is_written_outside(bundle, capsys, tmp_path, name):
    pack(tmp_path / "other.tar.gz", {name: b"{}"} | members(bundle))
    assert f"member {name} is unsafe to unpack" in refused(tmp_path / "other.tar.gz", capsys)
    assert not list(tmp_path.rglob("outside.json"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_not_unpacked(capsys, tmp_path, kind):
    pack(tmp_path / "other.tar.gz", {"results/mini/link": b""}, type=kind, linkname="/etc/passwd")
    assert "member results/mini/link is not a regular file" in refused(tmp_path / "other.tar.gz", capsys)


def test_what_is_no_bundle_is_said(capsys, tmp_path):
    (tmp_path / "text.tar.gz").write_text("no archive")
    assert "text.tar.gz: damaged at or after member" in refused(tmp_path / "text.tar.gz", capsys)
    pack(tmp_path / "other.tar.gz", {"results/mini/run.json": b"{}"})
    assert f"contains no {MANIFEST}; expected a bundle of `slq bundle`" in refused(tmp_path / "other.tar.gz", capsys)


def test_what_cannot_be_packed_is_said_and_nothing_is_written(results, capsys, tmp_path):
    (results / "link.json").symlink_to(results / "mini-a")
    (tmp_path / "empty").mkdir()
    for folder, out, message in (
        (results, tmp_path / "out.tar.gz", "link.json: not a regular file"),
        (results, tmp_path / "out.zip", "out.zip: the name of a bundle must end in .tar.gz"),
        (results, results / "out.tar.gz", "out.tar.gz: is inside"),
        (tmp_path / "empty", tmp_path / "out.tar.gz", "empty: contains no <backbone>/<method>/seed<k>/run.json"),
    ):
        capsys.readouterr()
        assert main(["bundle", str(folder), str(out)]) == 1
        assert message in capsys.readouterr().err and not out.exists()


def test_a_bundle_without_the_file_that_was_laid_over_says_so(results, capsys, tmp_path):
    """The runs' settings differ from the configuration, because the drawn runs were not made with it."""
    assert main(["bundle", str(results), str(tmp_path / "mini.tar.gz"), *CONFIG]) == 0
    assert "differ from the configuration; give all of its configuration files with --config" in capsys.readouterr().err
    assert main(["bundle", str(results.rename(results.parent / "mine")), str(tmp_path / "b.tar.gz"), *CONFIG]) == 1
    assert "the configuration has no preset mine; name its files with --config" in capsys.readouterr().err

"""The GPU check (tests/gpu) without a GPU: its message, every stage on the CPU, and mistakes that it must find."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from slq.config.cost_settings import train_step_settings
from slq.models.prefix import continue_positions
from slq.training.grad_cache import MicroBatches

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests/gpu"))
import run  # noqa: E402
import stages  # noqa: E402

without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="of machines without a GPU")


@pytest.fixture
def check(tmp_path, capsys):
    """Calls the check on the CPU in a temporary folder: its exit status, what it printed, its page and its results."""

    def call(*arguments):
        status = run.main(["--cpu", "--folder", str(tmp_path), *arguments])
        results = tmp_path / "stages-cpu.json"
        return (
            status,
            capsys.readouterr().out,
            (tmp_path / "gpu.md").read_text(),
            json.loads(results.read_text())["stages"] if results.is_file() else {},
        )

    return call


@without_gpu
def test_without_a_gpu_it_says_so_in_one_message_and_fails(capsys, tmp_path):
    assert run.main(["--folder", str(tmp_path), "--page", str(tmp_path / "gpu.md")]) == 1
    printed = capsys.readouterr()
    assert len(printed.err.splitlines()) == 1 and not printed.out and not list(tmp_path.iterdir())
    assert f"test-gpu: torch {torch.__version__} sees no GPU here; nothing was run, and docs/gpu.md" in printed.err


def test_a_trial_on_the_cpu_does_not_write_the_page_of_a_gpu(capsys):
    before = run.PAGE.read_bytes() if run.PAGE.is_file() else None
    assert run.main(["--cpu", "--page", str(run.PAGE)]) == 1
    assert "the page is of a GPU" in capsys.readouterr().err
    assert before == (run.PAGE.read_bytes() if run.PAGE.is_file() else None)
    assert before is None or b"Not a measurement of a GPU" not in before


def test_risks_come_first_and_the_paper_s_scale_fits_in_eight_minutes():
    """By the seconds that its stages are expected to take, but for the last of them."""
    listed = stages.list_stages(stages.PAPER)
    assert listed[0].name == "caches InternVL3-1B" and listed[-1].name.startswith("whole step")
    assert len({stage.name for stage in listed}) == len(listed)
    assert sum(stage.seconds for stage in listed[:-5]) <= 8 * 60


def test_whole_steps_are_those_of_the_papers_training():
    """The stages set micro-batch, GradCache and gradient checkpointing themselves, so that the small scale does too."""
    config = stages.load_merged_config([ROOT / "config.yaml"], "paper")
    for name in stages.PAPER.backbones:
        settings = train_step_settings(config, name, None, "bfloat16", whole_step=True)
        assert settings["micro_batch_size"] == stages.PAPER.micro_batch and settings["grad_cache"]
        assert settings["gradient_checkpointing"] == stages.CHECKPOINTING
        assert settings["batch"] == (512 if name == "InternVL3-8B" else 1024)


def test_stages_without_time_are_left_for_the_next_call(check):
    status, printed, page, _ = check("--minutes", "0.01", "--only", "caches")
    assert status == run.UNFINISHED and "0 passed, 0 failed, 2 not run" in printed
    assert "| caches mini-internvl | not run | |" in page and "Not run." in page


def test_a_stage_that_passed_is_not_run_again_and_a_failed_one_is(check, monkeypatch):
    def fail(scale, name):
        raise AssertionError("a wrong number")

    monkeypatch.setattr(stages, "check_embeddings", fail)
    status, _, page, found = check("--minutes", "0", "--only", "embeddings mini-internvl")
    assert status == 1 and "a wrong number" in found["embeddings mini-internvl"]["error"]
    assert "| embeddings mini-internvl | **failed** | AssertionError: a wrong number" in page
    monkeypatch.undo()
    assert check("--minutes", "0", "--only", "embeddings mini-internvl")[0] == 0
    monkeypatch.setattr(stages, "check_embeddings", fail)
    status, printed, _, _ = check("--minutes", "0", "--only", "embeddings mini-internvl")
    assert status == 0 and "embeddings mini-internvl: passed before" in printed


@pytest.mark.parametrize("stage", [stages.check_embeddings, stages.check_caches])
@pytest.mark.parametrize("name", stages.SMALL.backbones)
def test_a_wrong_position_fails(monkeypatch, stage, name):
    """Queries one position too far."""
    shifted = lambda positions, count: continue_positions(positions, count) + 1  # noqa: E731
    monkeypatch.setattr("slq.models.retriever.continue_positions", shifted)
    with pytest.raises(AssertionError, match="in float32"):
        stage(stages.SMALL, name)


def test_more_rounding_than_the_whole_sequence_has_fails(monkeypatch):
    """Noise of twice the size of bfloat16's own error, and none in float32."""

    def embed_roughly(self, prefix, embed=stages.LatentQueryRetriever.embed_from_prefix):
        vectors = embed(self, prefix)
        is_low = self.backbone.model.dtype == torch.bfloat16
        noise = torch.randn(vectors.shape, generator=torch.Generator().manual_seed(1))
        return vectors + is_low * 0.01 * torch.nn.functional.normalize(noise, dim=-1)

    monkeypatch.setattr(stages.LatentQueryRetriever, "embed_from_prefix", embed_roughly)
    with pytest.raises(AssertionError, match="two calls in bfloat16"):
        stages.check_embeddings(stages.SMALL, "mini-internvl")


def test_a_gradient_of_other_images_fails(monkeypatch):
    """The second step of `batch` with the images of another batch."""

    def reuse_reversed(self, retriever, batch, micro_batch_size):
        images = [pair.image for pair in batch if pair.image is not None]
        if not images:
            return self.images
        self.images = MicroBatches(retriever, images[::-1], micro_batch_size)
        return MicroBatches(retriever, images, micro_batch_size)

    monkeypatch.setattr("slq.training.grad_cache.PreviousImages.encode_or_reuse", reuse_reversed)
    with pytest.raises(AssertionError, match=r"batch \(2nd\) in float32"):
        stages.check_caches(stages.SMALL, "mini-internvl")


@pytest.mark.slow
def test_other_bytes_after_a_resume_fail(monkeypatch, tmp_path):
    """A worker that trains with another rate after the kill."""
    source = stages.WORKER.read_text()
    worker = tmp_path / "worker.py"
    changed = source.replace(
        'rates = {"learning_rate": 1e-3,', 'rates = {"learning_rate": 2e-3 if "from_step" in task else 1e-3,'
    )
    assert changed != source
    worker.write_text(f"import sys; sys.path.insert(0, {str(stages.WORKER.parent)!r})\n" + changed)
    monkeypatch.setattr(stages, "WORKER", worker)
    with pytest.raises(AssertionError, match="slq: killed and resumed, it learns other bytes"):
        stages.check_resume(stages.SMALL, ["slq"])


def test_a_step_that_does_not_fit_is_timed_with_fewer_pairs(monkeypatch):
    """The released algorithm at 8B: 64 and 32 pairs do not fit; a device that is too small is reported as such."""
    tried = []

    def bench(settings, variants, repeats, folder):
        tried.append(settings["batch"])
        if settings["batch"] > fits:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
        return {"batch": settings["batch"]}

    monkeypatch.setattr(stages, "bench_train_step", bench)
    fits = 16
    found = stages.measure_step(stages.PAPER, "InternVL3-8B")
    assert found == {"bench": {"batch": 16}, "out of memory at": [64, 32]} and tried == [64, 32, 16]
    fits = 0
    found = stages.measure_step(stages.PAPER, "InternVL3-8B")
    assert found["out of memory"] == "CUDA out of memory" and "bench" not in found


@pytest.mark.slow
def test_every_stage_runs_on_the_cpu(check):
    status, printed, page, found = check("--minutes", "0")
    assert (status, set(found)) == (0, {stage.name for stage in stages.list_stages(stages.SMALL)}), printed
    assert f"{len(found)} passed, 0 failed, 0 not run" in printed
    assert "**Not a measurement of a GPU**" in page and "| not run |" not in page
    assert all(f"| {name} | passed |" in page for name in found if "step" not in name)
    assert sum(line.startswith("| mini-") and "at once" in line for line in page.splitlines()) == 3
    assert "InternVL-mini | SLQ as released" in page


@without_gpu
@pytest.mark.slow
def test_it_reads_the_configuration_without_jsonschema(tmp_path):
    """As on a machine with a GPU and other packages."""
    code = (
        "import sys; sys.modules['jsonschema'] = None; sys.path.insert(0, 'tests/gpu')\n"
        "import importlib.util as util; found = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'jsonschema' else found(name, *rest)\n"
        f"import run; sys.exit(run.main(['--cpu', '--folder', {str(tmp_path)!r}, '--only', 'embeddings mini-int']))"
    )
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout + answer.stderr

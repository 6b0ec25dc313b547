"""The main job: it learns, it can be stopped anywhere, and resuming is exact."""

import json
import signal
import subprocess
import sys

import numpy as np
import pytest

import thalweg
from thalweg.app import corpus, job, train
from thalweg.app.artifacts import read_metrics, series
from thalweg.app.cli import main
from thalweg.app.options import Config

SMALL = ["--size", "tiny", "--seq", "16", "--batch", "4", "--dropout", "0.1", "--lr", "3e-3"]


@pytest.fixture(autouse=True)
def little_text(monkeypatch):
    """Ten batches an epoch, so that runs here cross from one epoch into the next."""
    source = b"for name in names:\n    print(name)\n" * 20
    text = np.frombuffer(source, dtype=np.uint8)[: 16 * 42 + 1]
    found = corpus.Corpus(text, text[:200], 1, 1, "digest")
    monkeypatch.setattr(corpus, "load", lambda root=None, cap=0: found)
    monkeypatch.setattr(job, "SAMPLE_BYTES", 5)


def start(out, *options):
    return main(["train", *SMALL, "--out", str(out), *options])


def resume(out, *options):
    return main(["train", "--resume", str(out), *options])


def interrupt_after(monkeypatch, step, how):
    """Make `how()` happen at the end of the given step."""
    original = train.Trainer.train_step

    def train_step(self):
        loss = original(self)
        if self.step == step:
            how()
        return loss

    monkeypatch.setattr(train.Trainer, "train_step", train_step)


def flat(value, name=""):
    """Every leaf of a nest, by its path."""
    if isinstance(value, dict):
        return {k: v for key in value for k, v in flat(value[key], f"{name}.{key}").items()}
    if isinstance(value, (list, tuple)):
        return {k: v for i, x in enumerate(value) for k, v in flat(x, f"{name}[{i}]").items()}
    return {name: value}


def assert_same_state(one, two):
    one = flat(thalweg.load(one / "checkpoint.safetensors"))
    two = flat(thalweg.load(two / "checkpoint.safetensors"))
    assert one.keys() == two.keys()
    assert sum(isinstance(value, thalweg.Tensor) for value in one.values()) > 50
    for name, value in one.items():
        if isinstance(value, thalweg.Tensor):
            assert value.numpy().tobytes() == two[name].numpy().tobytes(), name
        else:
            assert value == two[name], name


def assert_same_numbers(one, two):
    one, two = (read_metrics(path / "metrics.jsonl") for path in (one, two))
    for name in ("loss", "val_loss", "lr"):
        assert series(one, name) == series(two, name)


def test_a_run_learns_and_leaves_everything_behind(tmp_path, capsys):
    out = tmp_path / "run"
    assert start(out, "--steps", "30") == 0
    names = {path.name for path in out.iterdir()}
    expected = {"checkpoint.safetensors", "best.safetensors", "metrics.jsonl", "config.json"}
    assert expected | {"curve.png"} < names
    assert any(name.startswith("events.out.tfevents.") for name in names)
    records = read_metrics(out / "metrics.jsonl")
    steps, _ = series(records, "loss")
    assert steps == list(range(1, 31))
    steps, validation = series(records, "val_loss")
    assert steps == list(range(0, 31, 3))
    assert validation[-1] < 0.8 * validation[0]
    printed = capsys.readouterr().out
    for text in ("text before training", "text after training", "tok/s", "ETA", "validation loss"):
        assert text in printed
    assert f"validation loss {validation[0]:.4f} -> {validation[-1]:.4f}" in printed
    config = json.loads((out / "config.json").read_text())
    assert config["steps"] == 30 and config["size"] == "tiny" and config["corpus_digest"]


def test_the_best_weights_are_those_of_the_lowest_validation_loss(tmp_path):
    out = tmp_path / "run"
    assert start(out, "--steps", "8", "--eval-every", "2") == 0
    _, validation = series(read_metrics(out / "metrics.jsonl"), "val_loss")
    config = Config.from_json(json.loads((out / "config.json").read_text()), out)
    trainer = train.Trainer(config, corpus.load())
    trainer.model.load_state_dict(thalweg.load(out / "best.safetensors"))
    trainer.validate()
    assert trainer.last_val == min(validation)


def test_equal_options_make_equal_runs(tmp_path):
    for name in ("one", "two"):
        assert start(tmp_path / name, "--steps", "6") == 0
    assert_same_state(tmp_path / "one", tmp_path / "two")
    assert start(tmp_path / "three", "--steps", "6", "--seed", "1") == 0
    losses = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("one", "three")]
    assert series(losses[0], "loss") != series(losses[1], "loss")


# In the first epoch, at its last batch, just behind it, and in the last step but one.
@pytest.mark.parametrize("step", [3, 10, 11, 23])
def test_ctrl_c_and_resume_change_no_bit(tmp_path, monkeypatch, capsys, step):
    options = ["--steps", "24", "--eval-every", "5", "--save-every", "100"]
    assert start(tmp_path / "whole", *options) == 0
    with monkeypatch.context() as patch:
        interrupt_after(patch, step, lambda: signal.raise_signal(signal.SIGINT))
        assert start(tmp_path / "parts", *options) == 130
    assert f"stopped at step {step}" in capsys.readouterr().out
    assert (tmp_path / "parts" / "curve.png").exists()
    thalweg.manual_seed(999)
    assert resume(tmp_path / "parts") == 0
    assert f"resumed at step {step}" in capsys.readouterr().out
    assert_same_state(tmp_path / "whole", tmp_path / "parts")
    assert_same_numbers(tmp_path / "whole", tmp_path / "parts")


def test_a_crash_goes_back_to_the_last_checkpoint(tmp_path, monkeypatch):
    options = ["--steps", "16", "--eval-every", "4", "--save-every", "6"]
    assert start(tmp_path / "whole", *options) == 0

    def crash():
        raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        interrupt_after(patch, 11, crash)
        with pytest.raises(RuntimeError, match="power cut"):
            start(tmp_path / "parts", *options)
    assert thalweg.load(tmp_path / "parts" / "checkpoint.safetensors")["step"] == 6
    assert resume(tmp_path / "parts") == 0
    assert_same_state(tmp_path / "whole", tmp_path / "parts")
    assert_same_numbers(tmp_path / "whole", tmp_path / "parts")


def test_a_second_ctrl_c_ends_at_once_with_the_checkpoint_whole(tmp_path, monkeypatch, capsys):
    def twice():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        interrupt_after(patch, 3, twice)
        assert start(tmp_path / "run", "--steps", "6", "--save-every", "2") == 130
    assert thalweg.load(tmp_path / "run" / "checkpoint.safetensors")["step"] == 2
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert resume(tmp_path / "run") == 0


def test_a_complete_run_can_be_made_longer(tmp_path, capsys):
    out = tmp_path / "run"
    assert start(out, "--steps", "4") == 0
    assert resume(out) == 0
    assert "already complete" in capsys.readouterr().out
    assert resume(out, "--steps", "7") == 0
    steps, _ = series(read_metrics(out / "metrics.jsonl"), "loss")
    assert steps == list(range(1, 8))
    assert thalweg.load(out / "checkpoint.safetensors")["step"] == 7
    assert json.loads((out / "config.json").read_text())["steps"] == 7


def test_resume_without_a_name_takes_the_latest_run(tmp_path, capsys):
    runs = ["--runs", str(tmp_path)]
    for steps in ("2", "3"):
        assert main(["train", *SMALL, *runs, "--steps", steps]) == 0
    one, _ = sorted(tmp_path.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    capsys.readouterr()
    assert main(["train", *runs, "--resume", "--steps", "5"]) == 0
    assert "resumed at step 3" in capsys.readouterr().out
    assert main(["train", "--out", str(one), "--resume"]) == 0
    assert "resumed at step 2" in capsys.readouterr().out


def refused(capsys, arguments):
    capsys.readouterr()
    assert main(["train", *arguments]) == 2
    return capsys.readouterr().err


def test_what_would_change_the_run_is_refused(tmp_path, capsys):
    out = str(tmp_path / "run")
    assert start(out, "--steps", "2") == 0
    error = refused(capsys, [*SMALL, "--out", out])
    assert "already holds a run" in error
    assert "--seed 5 differs from the run's own 0" in refused(
        capsys, ["--resume", out, "--seed", "5"]
    )
    assert "is behind" in refused(capsys, ["--resume", out, "--steps", "1"])
    # Saying again what the run already has is no change.
    assert main(["train", "--resume", out, *SMALL]) == 0


def test_a_run_that_cannot_be_resumed_says_why(tmp_path, capsys):
    out = tmp_path / "run"
    assert "no run to resume" in refused(capsys, ["--runs", str(tmp_path), "--resume"])
    assert "is not a run folder" in refused(capsys, ["--resume", str(out)])
    assert start(out, "--steps", "2") == 0
    whole = (out / "checkpoint.safetensors").read_bytes()
    (out / "checkpoint.safetensors").write_bytes(whole[: len(whole) // 2])
    assert "checkpoint.safetensors" in refused(capsys, ["--resume", str(out)])
    (out / "checkpoint.safetensors").unlink()
    assert "no checkpoint" in refused(capsys, ["--resume", str(out)])


def test_another_standard_library_is_noticed(tmp_path, capsys, monkeypatch):
    out = tmp_path / "run"
    assert start(out, "--steps", "2") == 0
    text = corpus.load().train
    other = corpus.Corpus(text, text, 1, 1, "changed")
    monkeypatch.setattr(corpus, "load", lambda root=None, cap=0: other)
    error = refused(capsys, ["--resume", str(out)])
    assert "another standard library" in error and "changed" in error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--steps", "0"], "--steps: expected at least 1, given 0"),
        (["--lr", "0"], "--lr: expected more than 0, given 0.0"),
        (["--seed", "-1"], "--seed: expected at least 0, given -1"),
        (["--dropout", "1"], "--dropout: expected 0 up to below 1, given 1.0"),
        (["--threads", "0"], "--threads: expected at least 1, given 0"),
        (["--batch", "1000"], "a batch of 1000 windows needs more than"),
        (["--seq", "100000"], "only 673"),
    ],
)
def test_options_out_of_range(tmp_path, capsys, options, message):
    assert message in refused(capsys, ["--out", str(tmp_path / "run"), *options])
    assert not (tmp_path / "run").exists()


def test_a_damaged_configuration_is_refused(tmp_path, capsys):
    out = tmp_path / "run"
    assert start(out, "--steps", "2") == 0
    config = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(json.dumps({**config, "steps": "many"}))
    assert "steps should be int, is str" in refused(capsys, ["--resume", str(out)])
    del config["lr"]
    (out / "config.json").write_text(json.dumps({**config, "colour": 1}))
    error = refused(capsys, ["--resume", str(out)])
    assert "missing settings ['lr'], unknown settings ['colour']" in error


def test_the_schedule_warms_up_and_falls_to_a_tenth():
    shares = [train.schedule(step, 100) for step in range(101)]
    assert shares[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert max(shares) == pytest.approx(1.0)
    assert shares[5:] == sorted(shares[5:], reverse=True)
    assert shares[100] == pytest.approx(0.1)
    assert [train.schedule(step, 1) for step in range(2)] == pytest.approx([1.0, 0.1])


def test_ctrl_c_at_the_keyboard(tmp_path):
    """A real process and a real signal."""
    out = tmp_path / "run"
    options = ["--steps", "100000", "--save-every", "100000", "--eval-every", "100000"]
    size = ["--size", "tiny", "--seq", "16", "--batch", "2", "--corpus-bytes", "400000"]
    command = [sys.executable, "-m", "thalweg.app", "train", *size, *options, "--out", str(out)]
    lines = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        for line in process.stdout:
            lines.append(line)
            if line.startswith("step") and "validation" in line:
                process.send_signal(signal.SIGINT)
                break
        rest = process.stdout.read()
    assert process.returncode == 130, "".join(lines) + rest
    assert f"go on with: --resume {out}" in rest
    assert thalweg.load(out / "checkpoint.safetensors")["step"] < 100000

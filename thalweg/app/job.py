"""`thalweg train`: start or resume a run, show its progress, and leave its folder complete."""

from __future__ import annotations

import argparse
import platform
import time
from collections import deque
from pathlib import Path
from typing import Any

import thalweg as torch
from thalweg import Tensor
from thalweg.app import corpus as corpora
from thalweg.app.artifacts import MetricsLog, RunFolder, draw_curve, latest_run
from thalweg.app.gpt import generate, printable
from thalweg.app.options import Config, UsageError, given, resumed
from thalweg.app.reporting import Progress, Rate, duration, quantity
from thalweg.app.train import StopRequest, Trainer

PROMPT = b"def "
SAMPLE_BYTES = 200
INTERRUPTED = 130


def main(options: argparse.Namespace) -> int:
    """Run the job; 0 when the run is complete, 130 when it was interrupted."""
    # The first step must be computed by the same kernels as all others, or a resumed run, which
    # has a first step of its own, would differ in the last bit.
    torch.use_deterministic_algorithms(True)
    with StopRequest() as stop:
        try:
            job = (_new if options.resume is None else _resume)(options, stop)
        except corpora.CorpusError as error:
            raise UsageError(str(error)) from error
        return job.run()


def _new(options: argparse.Namespace, stop: StopRequest) -> Job:
    config = Config(**given(options))
    if options.out is not None:
        path = options.out
    else:
        name = f"gpt-{config.size}-{time.strftime('%Y%m%d-%H%M%S')}"
        path = options.runs / name
        number = 2
        while path.exists():
            path = options.runs / f"{name}-{number}"
            number += 1
    folder = RunFolder(path)
    if folder.config.exists() or folder.checkpoint.exists():
        raise UsageError(f"{path} already holds a run: add --resume, or choose another --out")
    corpus = corpora.load(cap=config.corpus_bytes)
    config = Config(**{**config.to_json(), "corpus_digest": corpus.digest})
    trainer = _trainer(config, corpus)
    path.mkdir(parents=True, exist_ok=True)
    folder.write_config(config.to_json())
    return Job(config, corpus, trainer, folder, stop, None)


def _resume(options: argparse.Namespace, stop: StopRequest) -> Job:
    if options.resume is not True:
        folder: RunFolder | None = RunFolder(Path(options.resume))
    elif options.out is not None:
        folder = RunFolder(options.out)
    else:
        folder = latest_run(options.runs)
    if folder is None:
        raise UsageError(f"there is no run to resume under {options.runs}")
    try:
        stored = Config.from_json(folder.read_config(), folder.config)
    except RuntimeError as error:
        raise UsageError(str(error)) from error
    if not folder.checkpoint.exists():
        raise UsageError(f"{folder.path} has no checkpoint to resume from")
    config = resumed(stored, given(options))
    corpus = corpora.load(cap=config.corpus_bytes)
    if corpus.digest != config.corpus_digest:
        raise UsageError(
            f"{folder.path} was trained on another standard library (digest "
            f"{config.corpus_digest}, here {corpus.digest} of Python "
            f"{platform.python_version()}): resume with the interpreter that started it"
        )
    trainer = _trainer(config, corpus)
    try:
        trainer.restore(torch.load(folder.checkpoint))
    except (RuntimeError, KeyError, ValueError, TypeError) as error:
        raise UsageError(f"cannot resume from {folder.checkpoint}: {error}") from error
    if trainer.step > config.steps:
        raise UsageError(
            f"--steps {config.steps} is behind {folder.path}, which is at step {trainer.step}"
        )
    if config != stored:
        folder.write_config(config.to_json())
    return Job(config, corpus, trainer, folder, stop, trainer.step)


def _trainer(config: Config, corpus: corpora.Corpus) -> Trainer:
    torch.set_num_threads(config.threads)
    try:
        return Trainer(config, corpus)
    except ValueError as error:
        raise UsageError(str(error)) from error


class Job:
    """A run being made: the trainer, and everything that reports on it."""

    def __init__(
        self,
        config: Config,
        corpus: corpora.Corpus,
        trainer: Trainer,
        folder: RunFolder,
        stop: StopRequest,
        resumed_at: int | None,
    ) -> None:
        self.config = config
        self.corpus = corpus
        self.trainer = trainer
        self.folder = folder
        self.stop = stop
        self.resumed_at = resumed_at
        self.progress = Progress(config.steps, every=max(1, config.steps // 20))
        self.metrics = MetricsLog(folder, resumed_at)
        # The newest loss is read one step late, while the step after it runs.
        self._unread: deque[tuple[int, float, Tensor]] = deque()

    def run(self) -> int:
        started = time.perf_counter()
        self._introduce()
        try:
            if self.resumed_at is None:
                self._sample("before training")
                self._validate()
                self._save()
            self._loop()
        finally:
            self.progress.close()
            self.metrics.close()
        return self._conclude(time.perf_counter() - started)

    def _loop(self) -> None:
        trainer, config = self.trainer, self.config
        rate = self.rate = Rate(config.steps)
        while trainer.step < config.steps and not self.stop.asked:
            learning_rate = trainer.learning_rate
            loss = trainer.train_step()
            self._unread.append((trainer.step, learning_rate, loss))
            self._read(keep=1)
            rate.tick()
            last = trainer.step == config.steps
            validating = last or trainer.step % config.eval_every == 0
            # An interrupted step still validates if it should: the resumed run will not.
            if validating:
                self._validate()
            if last or self.stop.asked or trainer.step % config.save_every == 0:
                self._save()
            rate.skip()
        self._read(keep=0)

    def _read(self, keep: int) -> None:
        while len(self._unread) > keep:
            step, learning_rate, handle = self._unread.popleft()
            loss = float(handle.item())
            seconds = self.rate.seconds_a_step
            speed = self.trainer.tokens_a_step / seconds if seconds else 0.0
            self.metrics.add(step, loss=loss, lr=learning_rate, tokens_per_second=round(speed, 1))
            self.progress.step(step, loss, speed, self.rate.left(step), self.trainer.last_val)

    def _validate(self) -> None:
        self._read(keep=0)
        best = self.trainer.validate()
        val = self.trainer.last_val
        assert val is not None
        self.metrics.add(self.trainer.step, val_loss=val)
        self.progress.validation(self.trainer.step, val, best)
        if best:
            torch.save(self.trainer.model.state_dict(), self.folder.best)

    def _save(self) -> None:
        self._read(keep=0)
        self.metrics.flush()
        torch.save(self.trainer.state(), self.folder.checkpoint)

    def _introduce(self) -> None:
        model, corpus, say = self.trainer.model, self.corpus, self.progress.say
        count = sum(p.numel() for p in model.parameters())
        shape = model.shape
        say(f"thalweg {torch.__version__}, Python {platform.python_version()}")
        say(
            f"model   GPT {self.config.size}: {shape.layers} layers, width {shape.width}, "
            f"{shape.heads} heads, {quantity(count)} parameters"
        )
        say(
            f"text    standard library source: {quantity(len(corpus.train))} bytes of "
            f"{corpus.train_files} files to train on, {quantity(len(corpus.validation))} bytes of "
            f"{corpus.validation_files} others held out"
        )
        say(
            f"run     {self.config.steps} steps of {self.config.batch} x {self.config.seq} bytes, "
            f"in {self.folder.path}"
        )
        if self.resumed_at is not None:
            say(f"resumed at step {self.resumed_at}")
        if not self.metrics.has_events:
            say("note    no TensorBoard events: install thalweg[train] to have them")

    def _sample(self, when: str) -> None:
        self.progress.say(f"\n--- text {when} " + "-" * (50 - len(when)))
        drawn = generate(
            self.trainer.model,
            PROMPT,
            SAMPLE_BYTES,
            seed=self.config.seed,
            stop=lambda: self.stop.asked,
        )
        self.progress.text(_as_text(drawn))
        self.progress.say("-" * 60 + "\n")

    def _conclude(self, seconds: float) -> int:
        trainer, say, folder = self.trainer, self.progress.say, self.folder
        title = f"GPT {self.config.size} on the standard library"
        drawn = draw_curve(folder.curve, self.metrics.records, title)
        if trainer.step < self.config.steps:
            say(f"\nstopped at step {trainer.step}; the checkpoint is in {folder.path}")
            say(f"go on with: --resume {folder.path}")
            return INTERRUPTED
        self._sample("after training")
        first, last, best = trainer.first_val, trainer.last_val, trainer.best_val
        assert first is not None and last is not None and best is not None
        say(f"validation loss {first:.4f} -> {last:.4f} (best {best:.4f}) nats a byte")
        if self.resumed_at == self.config.steps:
            say("the run was already complete; give a larger --steps to go on with it")
        say(f"took {duration(seconds)}; {folder.path} holds")
        for path, what in (
            (folder.checkpoint, "all state, to resume from"),
            (folder.best, "the weights with the lowest validation loss"),
            (folder.metrics, "every loss, one JSON object a line"),
            (folder.config, "the configuration"),
        ):
            say(f"  {path.name:24} {what}")
        if drawn:
            say(f"  {folder.curve.name:24} the loss curve")
        else:
            say("  (no curve: install thalweg[train] to have it drawn)")
        if self.metrics.has_events:
            say(f"  {'events.out.tfevents.*':24} for: tensorboard --logdir {folder.path}")
        return 0


def _as_text(drawn: Any) -> Any:
    """Bytes one by one to printable pieces, multi-byte characters kept whole."""
    yield printable(PROMPT)
    pending = b""
    for byte in drawn:
        pending += bytes([byte])
        try:
            pending.decode("utf-8")
        except UnicodeDecodeError as error:
            # An unfinished character may yet be completed; anything else will not be.
            if error.reason == "unexpected end of data":
                continue
        yield printable(pending)
        pending = b""
    if pending:
        yield printable(pending)

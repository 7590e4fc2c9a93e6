"""One group of trials: attach, train, answer, grade, store."""

from __future__ import annotations

import errno
import math
import os
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import bakeoff
from bakeoff.analysis.aggregates import measured
from bakeoff.analysis.collapsed import collapsed
from bakeoff.data.messages import Encoded, encode_text, encode_training
from bakeoff.engine import evaluate, meter, prove, reference
from bakeoff.engine import train as training
from bakeoff.engine.evaluate import Questions, questions
from bakeoff.engine.lanes import Lanes
from bakeoff.engine.plain import Plain
from bakeoff.engine.randomness import generator
from bakeoff.engine.train import Learner
from bakeoff.errors import BakeoffError, StorageError, TrialError, redacted
from bakeoff.methods.adapters.adapter import Adapter
from bakeoff.methods.method import Method
from bakeoff.models.backbone import Backbone
from bakeoff.run import checkpoint, memory
from bakeoff.run.checkpoint import Made
from bakeoff.run.course import Answered, Course, Misfit
from bakeoff.run.interrupt import Interrupt
from bakeoff.run.memory import TooLarge
from bakeoff.run.plan import Plan, context_for, method_of
from bakeoff.run.progress import Progress
from bakeoff.store import durable
from bakeoff.store.record import Benchmark, Cost, Part, Provenance, Record, Sample, Solo, TextLoss
from bakeoff.store.store import Store
from bakeoff.study import registry
from bakeoff.study.spec import Quantize, Trial
from bakeoff.tasks.task import Completion


@dataclass
class Workplace:
    """What groups share within a process: the loaded model and the encoded examples."""

    plan: Plan
    store: Store
    engine: str
    executor: str
    progress: Progress
    interrupt: Interrupt = field(default_factory=Interrupt)
    checkpoint_seconds: float = field(default_factory=lambda: checkpoint.SECONDS)
    _backbone: Backbone | None = None
    _held: tuple[str, Quantize | None] | None = None
    _doubt: str = ""
    _encoded: dict[tuple[str, str, int], Any] = field(default_factory=dict)
    _solos: dict[tuple[str, str], Solo | None] = field(default_factory=dict)
    _bare_losses: dict[tuple[str, Quantize | None, int, str], TextLoss] = field(default_factory=dict)

    def backbone(self, name: str, quantize: Quantize | None) -> Backbone:
        """The model with its weights, quantized or not; one is held at a time."""
        if self._backbone is None or self._held != (name, quantize):
            self._backbone = None
            self._backbone = Backbone.load(self.plan.study.models[name], self.plan.device, name, quantize)
            self._held = (name, quantize)
            self._doubt = prove.doubt(self._backbone)
            if self._doubt and self.engine == "auto":
                self.progress.note(f"{name}: {self._doubt}, so the reference engine serves it")
        return self._backbone

    def finished(self, trial: Trial) -> bool:
        """Whether the trial is stored and did not fail."""
        return self.store.finished(trial.key())

    def engine_for(self, backbone: Backbone, method: Method) -> str:
        """`lanes` where they are proven equal on this model and the method runs in them, else `reference`.

        TrialError where that is not allowed.
        """
        if not method.lanes:
            return "reference"
        if self.engine == "lanes" and self._doubt:
            raise TrialError(f"--engine lanes cannot serve {backbone.name}: {self._doubt}")
        return "reference" if self.engine == "reference" or self._doubt else "lanes"

    def training_examples(self, trial: Trial, backbone: Backbone, context: int) -> tuple[Encoded, ...]:
        def encode() -> tuple[Encoded, ...]:
            rows = self.plan.examples_of(trial).train
            return tuple(encode_training(backbone.tokenizer, row, context) for row in rows)

        return self._once((backbone.name, trial.task, context), encode)

    def questions(self, trial: Trial, backbone: Backbone, context: int) -> list[Questions]:
        task, found = self.plan.tasks[trial.task], self.plan.examples_of(trial)

        def encode() -> list[Questions]:
            spec = trial.task_spec
            return [
                questions(task, name, rows, spec.decoding, backbone.tokenizer, context, spec.answering)
                for name, rows in found.benchmarks.items()
            ]

        return self._once((backbone.name, f"{trial.task} {trial.task_spec.split}?", context), encode)

    def solo(self, trial: Trial, method: Method, backbone: Backbone, engine: str, context: int) -> Solo | None:
        """What the trial's method costs alone, measured once for all that cost the same; None, noted, if it fails."""
        key = meter.same_cost(trial), engine
        if key not in self._solos:
            try:
                examples = self.training_examples(trial, backbone, context) if trial.training else ()
                prompt = self.questions(trial, backbone, context)[0].encoded[0].prompt
                self._solos[key] = meter.measure(backbone, method, trial, engine, examples, prompt)
            except Exception as error:  # out of memory, mostly: the trial itself may still do, or tell why not
                self._solos[key] = None
                self.progress.note(f"{trial.label()}: its cost alone could not be measured ({_reason(error)})")
        return self._solos[key]

    def held_out(self, trial: Trial, backbone: Backbone, context: int) -> tuple[Encoded, ...]:
        """The held-out texts as token ids; none where the study asks for none, for an encoder-decoder, or to tune."""
        asked = self.plan.held_out
        if asked is None or backbone.encoder_decoder or trial.tunes:
            return ()

        def encode() -> tuple[Encoded, ...]:
            items = (encode_text(backbone.tokenizer, text, context) for text in asked.texts)
            if not (several := tuple(item for item in items if item.leaves[0])):
                raise TrialError("no held-out text has a second token, whose loss could be told")
            return several

        return self._once((backbone.name, " text", context), encode)

    def bare_loss(self, trial: Trial, backbone: Backbone, engine: str, context: int) -> TextLoss | None:
        """The loss of the held-out text under the base as it is, in the trial's engine; None without such text."""
        items = self.held_out(trial, backbone, context)
        key = trial.model, trial.quantize, context, engine
        if items and key not in self._bare_losses:
            if engine == "lanes":
                (loss,) = evaluate.text_losses(Lanes(backbone, [Adapter()]), items)
            else:
                loss = reference.text_loss(Plain(backbone, Adapter()).eval(), items)
            tokens = sum(len(item.leaves[0]) for item in items)
            self._bare_losses[key] = TextLoss(before=loss, after=loss, texts=len(items), tokens=tokens)
        return self._bare_losses.get(key) if items else None

    def _once(self, key: tuple[str, str, int], make: Callable[[], Any]) -> Any:
        if key not in self._encoded:
            self._encoded = {k: v for k, v in self._encoded.items() if k[0] == key[0]}
            self._encoded[key] = make()
        return self._encoded[key]


def carry_out(place: Workplace, number: int, trials: Sequence[Trial]) -> list[Record]:
    """Run one group and store its trials; what fails is recorded with its reason, what is stored stays.

    TooLarge, and nothing is recorded, where memory ran out for several trials at once.
    """
    place.interrupt.check()
    started = datetime.now(UTC).isoformat(timespec="seconds")
    about, short = _About(place, number, len(trials), started), ""
    try:
        while (records := _carry_out(place, about, trials)) is None:
            pass
    except StorageError:
        raise
    except Exception as error:  # the one place where a group's failure becomes its trials' records
        if _full(error):
            with durable.storing(Path(str(getattr(error, "filename", "") or os.environ.get("TMPDIR", "/tmp")))):
                raise
        short = _reason(error) if memory.ran_out(error) else ""
        pending = [] if short and len(trials) > 1 else [trial for trial in trials if not place.finished(trial)]
        records = [_failed(place, about, trial, error) for trial in pending]
    if short:  # not where the error is handled, whose frames hold what is to be freed
        memory.free()
        if len(trials) > 1:
            raise TooLarge(short)
    return records


def _full(error: Exception) -> bool:
    """Whether a disk was full, of $TMPDIR: no trial's doing."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def fail(place: Workplace, number: int, trials: Sequence[Trial], error: Exception) -> None:
    """Store that the trials of a group which are not finished failed, where that is known from outside."""
    started = datetime.now(UTC).isoformat(timespec="seconds")
    about = _About(place, number, len(trials), started)
    for trial in trials:
        if not place.finished(trial):
            _failed(place, about, trial, error)


def _failed(place: Workplace, about: _About, trial: Trial, error: Exception) -> Record:
    """Store a trial's failure, and tell it."""
    record = about.failed(trial, error)
    place.store.stage(record.key)
    place.store.commit(trial, record, [], [])
    place.progress.trial(record)
    return record


def _carry_out(place: Workplace, about: _About, trials: Sequence[Trial]) -> list[Record] | None:
    """The group's records; None where a checkpoint did not fit, which is gone now, and all is to begin anew."""
    backbone = place.backbone(trials[0].model, trials[0].quantize)
    methods = [method_of(trial) for trial in trials]
    about.engine = place.engine_for(backbone, methods[0])
    place.progress.group(trials, about.engine)
    context = context_for(backbone, methods[0].virtual_tokens())
    if not place.plan.tunes(trials[0]):
        about.solo = place.solo(trials[0], methods[0], backbone, about.engine, context)
    about.bare_loss = place.bare_loss(trials[0], backbone, about.engine, context)
    adapters = [
        method.attach(backbone, generator(trial.seed, "init")) for method, trial in zip(methods, trials, strict=True)
    ]
    starts = [_weights(adapter) for adapter in adapters]
    try:
        work = _lanes_engine if about.engine == "lanes" else _reference_engine
        outcomes = work(place, about, backbone, trials, adapters, context)
        return [
            _stored(place, about, backbone, *each)
            for each in zip(trials, methods, adapters, outcomes, starts, strict=True)
        ]
    except Misfit:
        return None
    finally:
        for adapter in adapters:
            adapter.release()


@dataclass
class _Graded:
    """One trial's graded answers; `failure` says why some could not be graded, and the others of its group go on."""

    samples: list[Sample] = field(default_factory=list)
    benchmarks: dict[str, Benchmark] = field(default_factory=dict)
    failure: TrialError | None = None
    _portions: list[Sample] = field(default_factory=list)

    def grade(self, part: Questions, completions: Sequence[Sequence[Completion]]) -> None:
        """Grade a portion of a benchmark."""
        try:
            self._portions += evaluate.graded(part, completions)
        except TrialError as error:
            self.failure = self.failure or error

    def close(self, ask: Questions) -> None:
        """Put a benchmark's portions together, in the order of its examples."""
        found, self._portions = self._portions, []
        try:
            evaluate.check(found)
        except TrialError as error:
            self.failure = self.failure or error
        if not self.failure:
            order = {example.id: i for i, example in enumerate(ask.examples)}
            found.sort(key=lambda sample: order[sample.id])
            self.samples += found
            self.benchmarks[ask.benchmark] = _benchmark(ask, found)


@dataclass
class _Outcome:
    learner: Learner | None
    graded: _Graded
    train_seconds: float
    eval_seconds: float
    peak_bytes: int | None
    text_loss: float | None
    resumed_at: tuple[int, ...]


# An engine yields its trials' outcomes one after another; what it yielded is stored before it is asked for the next.


def _lanes_engine(
    place: Workplace, about: _About, backbone: Backbone, trials: Sequence[Trial], adapters: Sequence[Adapter],
    context: int,
) -> Iterator[_Outcome]:  # fmt: skip
    learners = _learners(place, backbone, trials, adapters, context)
    course = _course(place, about, backbone, trials, learners)
    _reset_peak(backbone)
    lanes = Lanes(backbone, adapters)
    if training_ones := [one for one in learners if one]:
        course.train(lambda stepped: training.train(lanes, training_ones, stepped))
    for adapter in adapters:
        adapter.eval()
    alive = [i for i, one in enumerate(learners) if one is None or not one.diverged]
    answering, keys = lanes.subset(alive), [trials[i].key() for i in alive]
    graded = _answers(
        course, place.questions(trials[0], backbone, context) if alive else (), len(alive),
        lambda ask: evaluate.portions(answering, ask),
        lambda part: evaluate.answer(answering, part, keys, course.beat),
    )  # fmt: skip
    items = place.held_out(trials[0], backbone, context)
    told = evaluate.text_losses(answering, items) if items and alive else []
    found, losses = dict(zip(alive, graded, strict=True)), dict(zip(alive, told, strict=False))
    for i, learner in enumerate(learners):
        yield _Outcome(
            learner, found.get(i, _Graded()), course.train_seconds / len(trials),
            course.eval_seconds / max(1, len(alive)), course.peak_bytes(), losses.get(i), course.resumed_at,
        )  # fmt: skip
    if not any(one.failure for one in graded):
        course.checkpoints.drop()


def _reference_engine(
    place: Workplace, about: _About, backbone: Backbone, trials: Sequence[Trial], adapters: Sequence[Adapter],
    context: int,
) -> Iterator[_Outcome | Exception | None]:  # fmt: skip
    """Each trial by itself; None for one that is stored already, and why it failed for one that did."""
    for trial, adapter in zip(trials, adapters, strict=True):
        if place.finished(trial):
            yield None
            continue
        try:
            yield from _by_itself(place, about, backbone, trial, adapter, context)
        except (StorageError, Misfit):
            raise
        except Exception as error:
            if _full(error) or memory.ran_out(error):
                raise
            yield error


def _by_itself(
    place: Workplace, about: _About, backbone: Backbone, trial: Trial, adapter: Adapter, context: int
) -> Iterator[_Outcome]:
    model = Plain(backbone, adapter)
    (learner,) = _learners(place, backbone, [trial], [model], context)
    course = _course(place, about, backbone, [trial], [learner])
    _reset_peak(backbone)
    if learner:
        course.train(lambda stepped: reference.train(learner, stepped))
    model.eval()
    model.collect()
    asked = () if learner and learner.diverged else place.questions(trial, backbone, context)
    (graded,) = _answers(
        course, asked, 1, reference.portions,
        lambda part: [reference.answer(model, part, trial.key(), course.beat)],
    )  # fmt: skip
    items = place.held_out(trial, backbone, context)
    loss = reference.text_loss(model, items) if items and asked else None
    yield _Outcome(
        learner, graded, course.train_seconds, course.eval_seconds, course.peak_bytes(), loss, course.resumed_at
    )
    if not graded.failure:
        course.checkpoints.drop()


def _answers(
    course: Course, asked: Sequence[Questions], lanes: int, portions: Callable[[Questions], Sequence[Questions]],
    answer: Callable[[Questions], Answered],
) -> list[_Graded]:  # fmt: skip
    """Every lane's answers to every benchmark, portion by portion: kept as soon as they are there, then graded."""
    found = [_Graded() for _ in range(lanes)]
    for ask in asked:
        course.place.progress.evaluating(ask.benchmark)
        for part in portions(ask):
            for one, completions in zip(found, course.answered(part, answer), strict=True):
                one.grade(part, completions)
        for one in found:
            one.close(ask)
    return found


def _learners(
    place: Workplace, backbone: Backbone, trials: Sequence[Trial], adapters: Sequence[Adapter], context: int
) -> list[Learner | None]:
    uniform = math.log(backbone.embedding.num_embeddings)
    return [
        Learner(
            str(trial.seed),
            adapter,
            place.training_examples(trial, backbone, context),
            trial.training,
            trial.seed,
            uniform,
        )
        if trial.training is not None and trial.seed is not None
        else None
        for trial, adapter in zip(trials, adapters, strict=True)
    ]


def _benchmark(ask: Questions, samples: Sequence[Sample]) -> Benchmark:
    """Every metric that the samples hold (means over items, and aggregates), and counts.

    An item's score is the mean over those of its draws that have scores.
    """
    metrics = measured(ask.task.metrics, samples)
    counts = {
        "prompts_cut": ask.cut,
        "unparsable": sum(bool(sample.detail.get("unparsable")) for sample in samples),
        "truncated": sum(bool(sample.detail.get("truncated")) for sample in samples),
        **({"reference_answers_cut": ask.references_cut} if ask.references else {}),
    }
    if ask.task.runs_code:
        counts["harness_errors"] = sum(sample.detail.get("verdict") == "harness-error" for sample in samples)
    return Benchmark(metrics=metrics, n_items=len(ask.examples), counts=counts)


def _cut(examples: Sequence[Encoded]) -> dict[str, int]:
    """How many training examples lost the middle of their prompt, how many the end of their answer."""
    return {
        "training_prompts_cut": sum(item.cut > 0 for item in examples),
        "training_answers_cut": sum(item.answer_cut > 0 for item in examples),
    }


def _weights(adapter: Adapter) -> dict[str, list[torch.Tensor]]:
    """The weights of a combination's parts as they are now."""
    return {name: [p.detach().clone() for p in part.parameters()] for name, part in adapter.members().items()}


def _moved(adapter: Adapter, start: dict[str, list[torch.Tensor]]) -> dict[str, Part]:
    """What a combination's parts hold, and how far they are from `start`."""
    found: dict[str, Part] = {}
    for name, part in adapter.members().items():
        pairs = zip(part.parameters(), start[name], strict=True)
        far = math.sqrt(sum(float((p.detach().double() - was.double()).square().sum()) for p, was in pairs))
        params = sum(p.numel() for p in part.parameters())
        found[name] = Part(trainable_params=params, moved=far if math.isfinite(far) else None)
    return found


def _stored(
    place: Workplace, about: _About, backbone: Backbone, trial: Trial, method: Any, adapter: Adapter,
    out: _Outcome | Exception | None,
    start: dict[str, list[torch.Tensor]],
) -> Record:  # fmt: skip
    """Check the adapter's count, save it, commit the trial, or that it failed, and tell it.

    A trial that was stored before is left as it is, and not told again.
    """
    key = trial.key()
    if out is None or place.finished(trial):
        return place.store.record(key)
    if isinstance(out, Exception):
        return _failed(place, about, trial, out)
    learner, graded = out.learner, out.graded
    if graded.failure:
        return _failed(place, about, trial, graded.failure)
    diverged = (learner.diverged or collapsed(graded.samples)) if learner else ""
    trainable = _counted(backbone, trial, method, adapter)
    folder = place.store.stage(key)
    if method.trains:
        with durable.storing(folder):
            adapter.save(folder / "adapter")
    added = 0 if method.solo else trainable
    bare = about.bare_loss
    record = Record(
        key=key,
        trial=trial,
        status="diverged" if diverged else "done",
        reason=diverged,
        benchmarks=graded.benchmarks,
        counts=_cut(learner.examples) if learner else {},
        text_loss=bare.model_copy(update={"after": out.text_loss}) if bare and out.text_loss is not None else None,
        trainable_params=trainable,
        total_params=backbone.parameters() + added,
        cost=_cost(about, out, folder),
        provenance=about.provenance.model_copy(
            update={"sandboxes": _sandboxes(graded.samples), "resumed_at": out.resumed_at}
        ),
        parts=_moved(adapter, start),
    )
    place.store.commit(trial, record, graded.samples, learner.curve if learner else [])
    place.progress.trial(record)
    return record


def _counted(backbone: Backbone, trial: Trial, method: Any, adapter: Adapter) -> int:
    """How many numbers the adapter trains, which is what its method's formula must say."""
    trainable = sum(p.numel() for p in adapter.parameters()) if method.trains else 0
    if trainable != (declared := method.parameters(backbone)):
        raise BakeoffError(
            f"{trial.label()}: {trainable} trainable numbers, but {method.use}'s formula says {declared}"
        )
    return trainable


def _cost(about: _About, out: _Outcome, folder: Path) -> Cost:
    """What the trial took, whose adapter lies in `folder`."""
    return Cost(
        train_seconds=out.train_seconds,
        eval_seconds=out.eval_seconds,
        train_tokens=out.learner.tokens if out.learner else 0,
        train_steps=len(out.learner.curve) if out.learner else 0,
        lanes=about.size if about.engine == "lanes" else 1,
        adapter_bytes=sum(file.stat().st_size for file in folder.rglob("*.safetensors")),
        peak_bytes=out.peak_bytes,
        solo=about.solo,
    )


@dataclass
class _About:
    """The provenance of one group, what its method costs alone, and the base's loss of the held-out text."""

    place: Workplace
    number: int
    size: int
    started: str
    engine: str = "none"
    solo: Solo | None = None
    bare_loss: TextLoss | None = None

    @cached_property
    def provenance(self) -> Provenance:
        device = self.place.plan.device
        return Provenance(
            engine=self.engine,
            executor=self.place.executor,
            group=self.number,
            group_size=self.size,
            device=torch.cuda.get_device_name() if device == "cuda" else "cpu",
            threads=torch.get_num_threads(),
            platform=platform.platform(),
            versions={
                "bakeoff": bakeoff.__version__,
                "python": sys.version.split()[0],
                **{name: version(name) for name in ("torch", "transformers", "peft")},
            },
            started=self.started,
        )

    def made(self, trials: Sequence[Trial]) -> Made:
        """What checkpoints of these trials, as one, are good for."""
        versions = {name: one for name, one in self.provenance.versions.items() if name != "python"}
        files = self.place.plan.study.plugins
        versions |= {f"plugins.{i} {Path(file).name}": registry.plugin_hash(file)[:12] for i, file in enumerate(files)}
        keys = tuple(trial.key() for trial in trials)
        return Made(trials=keys, engine=self.engine, device=self.provenance.device, versions=versions)

    def failed(self, trial: Trial, error: Exception) -> Record:
        plan = self.place.plan
        declared = plan.parameters[trial.model, trial.method]
        return Record(
            key=trial.key(),
            trial=trial,
            status="failed",
            reason=_reason(error),
            trainable_params=declared,
            total_params=plan.backbones[trial.model].parameters() + (0 if method_of(trial).solo else declared),
            provenance=self.provenance,
        )


def _sandboxes(samples: Sequence[Sample]) -> tuple[str, ...]:
    """Every tier of sandbox in which a sample was run."""
    return tuple(sorted({sample.detail["sandbox"] for sample in samples if sample.detail.get("sandbox")}))


def _course(
    place: Workplace, about: _About, backbone: Backbone, trials: Sequence[Trial], learners: Sequence[Learner | None]
) -> Course:
    """Trials that run as one, from their newest checkpoint on; a note says where that is."""
    course = Course(place, about.made(trials), learners, lambda: _peak(backbone, about.size))
    if course.resumed_at:
        several = f" and {len(trials) - 1} more" if len(trials) > 1 else ""
        place.progress.note(
            f"{trials[0].label()}{several}: going on from the checkpoint of step {course.resumed_at[-1]}"
        )
    return course


def _reason(error: Exception) -> str:
    """An error in one line, which is stored; of a GPU's memory what was asked for and what there is, no advice."""
    told = str(error) if isinstance(error, BakeoffError) else f"{type(error).__name__}: {error}".removesuffix(": ")
    return redacted(told.split("\n")[0].split(" Including non-PyTorch memory")[0])


def _reset_peak(backbone: Backbone) -> None:
    if backbone.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()


def _peak(backbone: Backbone, size: int) -> int | None:
    """The accelerator's peak, where it is one trial's own: nobody else's adapter was there."""
    return torch.cuda.max_memory_allocated() if backbone.device.type == "cuda" and size == 1 else None

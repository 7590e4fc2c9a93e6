"""Export: a trial's model for others, as PEFT adapters or merged into one Hugging Face model, and re-scored."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bakeoff
from bakeoff.analysis import words
from bakeoff.analysis.metrics import is_fraction
from bakeoff.errors import BakeoffError, InputError, suggest
from bakeoff.methods.adapters.adapter import Adapter
from bakeoff.models.backbone import Backbone, locate, trusting
from bakeoff.run.interrupt import lastly
from bakeoff.store import durable
from bakeoff.use.rescore import Agreement, read, rescore
from bakeoff.use.trial import Opened

FORMS = ("peft", "merged")
VIRTUAL = "virtual-tokens"  # the folder of a merged model that keeps what cannot be merged


@dataclass(frozen=True)
class Part:
    """One of a trial's adapters: its kind of method, and where it is stored."""

    use: str
    adapter: Adapter
    folder: Path

    @property
    def wraps(self) -> bool:
        """Whether it puts virtual tokens before the text: PEFT keeps such a one outside the model."""
        return self.adapter.stage == 3


@dataclass(frozen=True)
class Layout:
    """What a user of the export loads: a model's directory, and PEFT adapters to put around it in this order."""

    base: Path
    adapters: tuple[Path, ...]
    tokenizer: Path


def export(opened: Opened, to: str, out: Path) -> list[Agreement]:
    """Write the trial's model to `out` as `peft` or `merged`; what comes back is how its answers agree with the stored.

    `out` appears whole, by one rename, after the written files have been read back and re-scored. InputError where
    the form does not exist for the method; BakeoffError, and nothing written, where the answers differ.
    """
    if to not in FORMS:
        raise InputError("--to", f"unknown '{to}'", suggest(to, FORMS))
    if out.exists():
        raise InputError("--out", f"{out} is there already", "name a new directory")
    if not opened.method.trains:
        raise InputError("TRIAL", f"{opened.label} trains nothing", f"the model is {opened.model.path} as it is")
    if to == "peft" and opened.method.solo:
        raise InputError("--to", f"{opened.trial.method} is a whole model and has no adapter", "use --to merged")
    if to == "merged" and opened.trial.quantize:
        what = f"{opened.label} was trained on weights in 4 bits, which a merge would round once more"
        raise InputError("--to", what, "use --to peft")
    backbone = opened.backbone()
    adapter = opened.adapter(backbone)
    with _staged(out) as folder:
        layout = _peft(opened, adapter, folder) if to == "peft" else _merged(opened, backbone, adapter, folder)
        written = read(layout.base, layout.adapters, layout.tokenizer, backbone, opened.trial.quantize, opened.model)
        found = rescore(opened, written, backbone, adapter)
        wrong = [str(one) for one in found if not one.good]
        if wrong:
            raise BakeoffError(
                f"{opened.label}: what was written does not answer as the trial did, so it is not kept: {wrong[0]}"
            )
        with durable.storing(out):
            (folder / "README.md").write_text(_readme(opened, layout, folder, out, found), encoding="utf-8")
    return found


@contextmanager
def _staged(out: Path) -> Iterator[Path]:
    """A directory beside `out` that becomes `out` when the block ends well, and is removed otherwise."""
    folder = out.parent / f".{out.name}.partial"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise InputError("--out", f"{out} cannot be written ({error.strerror})") from None
    with lastly(lambda: shutil.rmtree(folder, ignore_errors=True)):
        yield folder
        folder.rename(out)


def _copy(opened: Opened, source: Path, target: Path) -> None:
    """Copy of an adapter's directory what the trial wrote, and nothing that was laid beside it."""
    trial = opened.folder.parent
    for path in (trial / name for name in durable.manifest(trial)):
        if path.is_relative_to(source):
            to = target / path.relative_to(source)
            with durable.storing(to):
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, to, follow_symlinks=False)


# --- peft ---


def _peft(opened: Opened, adapter: Adapter, folder: Path) -> Layout:
    """The stored adapter, its base model named in it."""
    parts = _parts(opened, adapter)
    _check_peft(parts)
    _copy(opened, opened.folder, folder)
    _named(opened, folder)
    base = locate(opened.model, f"models.{opened.trial.model}.path")
    adapters = [folder / part.folder.relative_to(opened.folder) for part in parts]
    return Layout(base, tuple(adapters), base)


def _check_peft(parts: Sequence[Part]) -> None:
    foreign = [part.use for part in parts if part.adapter.peft_config() is None]
    if foreign:
        raise InputError("--to", f"PEFT has no {foreign[0]}")
    twice = sorted({part.use for part in parts if sum(part.use == other.use for other in parts) > 1})
    if twice:
        raise InputError("--to", f"PEFT would put one {twice[0]} adapter in the place of the other", "use --to merged")
    _check_wraps(parts)


def _check_wraps(parts: Sequence[Part]) -> None:
    wraps = [part.use for part in parts if part.wraps]
    if len(wraps) > 1:
        raise InputError("--to", f"PEFT cannot put {' and '.join(wraps)} before one model at once")


def _parts(opened: Opened, adapter: Any) -> list[Part]:
    """The trial's adapters in the order they act."""
    if not hasattr(adapter, "parts"):
        return [Part(opened.method.use, adapter, opened.folder)]
    uses = {part["name"]: part["use"] for part in opened.trial.method_config["parts"]}
    return [
        Part(uses[name], part, opened.folder / f"part{i}")
        for i, (name, part) in enumerate(zip(adapter.names, adapter.parts, strict=True))
    ]


# --- merged ---


def _merged(opened: Opened, backbone: Backbone, adapter: Adapter, folder: Path) -> Layout:
    """The base with everything merged that can be; virtual tokens stay a PEFT adapter in a folder of their own."""
    with durable.storing(folder):
        backbone.tokenizer.save_pretrained(folder)
    if opened.method.solo:
        _copy(opened, opened.folder, folder)
        return Layout(folder, (), folder)
    parts = _parts(opened, adapter)
    if all(part.wraps for part in parts):
        what = f"{parts[0].use} puts virtual tokens before the text, which cannot become weights"
        raise InputError("--to", what, "use --to peft")
    _check_wraps(parts)
    from transformers import AutoModelForCausalLM

    base = locate(opened.model, f"models.{opened.trial.model}.path")
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=backbone.dtype, **trusting(opened.model))
    for part in parts:
        if part.wraps:
            _copy(opened, part.folder, folder / VIRTUAL)
        else:
            model = _merge(part, model)
    with durable.storing(folder):
        model.save_pretrained(folder)
    _named(opened, folder, whole=True)
    return Layout(folder, tuple(folder / VIRTUAL for part in parts if part.wraps), folder)


def _merge(part: Part, model: Any) -> Any:
    try:
        return part.adapter.merge(model, part.folder)
    except ValueError as error:
        raise InputError("--to", f"{part.use} cannot be merged: {error}", "use --to peft where PEFT has it") from None


# --- what it says of itself ---


def _named(opened: Opened, folder: Path, whole: bool = False) -> None:
    """Name the base model in the PEFT configurations of `folder`, unless a `whole` model beside them is their base."""
    base = {} if whole else {"base_model_name_or_path": opened.model.path, "revision": opened.model.revision}
    for file in folder.rglob("adapter_config.json"):
        config = {**json.loads(file.read_text()), **base}
        if config.get("tokenizer_name_or_path"):
            config["tokenizer_name_or_path"] = opened.model.path
        with durable.storing(file):
            file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def _readme(opened: Opened, layout: Layout, folder: Path, out: Path, found: Sequence[Agreement]) -> str:
    record = opened.record
    scores = [
        f"| {name} | {metric} | {words.score(value, is_fraction(metric))} | {benchmark.n_items} |"
        for name, benchmark in record.benchmarks.items()
        for metric, value in benchmark.metrics.items()
    ]
    local = ", a local directory when the trial was trained" if _local(opened) else ""
    return "\n".join(
        [
            f"# {opened.label}",
            "",
            f"Written by Bakeoff {bakeoff.__version__} from trial `{record.key}`.",
            "",
            f"- Base model: `{_base(opened)}`{local}, {opened.trial.dtype}"
            f"{' held in 4 bits' if opened.trial.quantize else ''};"
            f" sha256 of its weights, configuration and tokenizer `{opened.trial.weights}`",
            f"- Method: {opened.trial.method_use} `{json.dumps(opened.trial.method_config)}`",
            f"- Training: `{opened.trial.training.model_dump_json() if opened.trial.training else None}`,"
            f" seed {opened.trial.seed}",
            f"- Trained: {record.trainable_params:,} numbers",
            "",
            "| benchmark | metric | score | items |",
            "|---|---|---|---|",
            *scores,
            "",
            "Read back with transformers and PEFT alone and asked again:",
            "",
            *(f"- {one}" for one in found),
            "",
            f"From the directory that holds `{out.name}`"
            + (f", with the base model's directory for `{_base(opened)}`:" if local and layout.base != folder else ":"),
            "",
            "```python",
            *_loading(opened, layout, folder, out),
            "```",
            "",
        ]
    )


def _local(opened: Opened) -> bool:
    """Whether the base model is a directory of the machine that trained, and no hub id."""
    return Path(opened.model.path).is_absolute()


def _base(opened: Opened) -> str:
    """The base model as others may know it: its hub id, or its name in the study."""
    return opened.trial.model if _local(opened) else opened.model.path


def _loading(opened: Opened, layout: Layout, folder: Path, out: Path) -> list[str]:
    """The lines that load it, from the directory that holds it."""
    base = json.dumps(out.name if layout.base == folder else _base(opened))
    how = f'dtype="{opened.trial.dtype}"'
    imported, nf4 = ["AutoModelForCausalLM", "AutoTokenizer"], []
    if opened.trial.quantize:
        imported, how = [*imported, "BitsAndBytesConfig"], f"{how}, quantization_config=nf4"
        keys = 'bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True'
        nf4 = [f'nf4 = BitsAndBytesConfig(load_in_4bit=True, {keys}, bnb_4bit_compute_dtype="{opened.trial.dtype}")']
    where = [json.dumps(str(out.name / adapter.relative_to(folder))) for adapter in layout.adapters]
    return [
        *(["from peft import PeftModel"] if where else []),
        f"from transformers import {', '.join(imported)}",
        "",
        f"tokenizer = AutoTokenizer.from_pretrained({base})",
        *nf4,
        f"{'base' if where else 'model'} = AutoModelForCausalLM.from_pretrained({base}, {how})",
        *(
            f"model = PeftModel.from_pretrained(base, {path})"
            + ("  # around the base as it now is: not around `model`" if i else "")
            for i, path in enumerate(where)
        ),
    ]

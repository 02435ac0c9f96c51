"""What a user asks of a run: frozen, validated, from the command line or a TOML file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shlex
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Literal, Self, get_args

from vitreport.errors import SettingsError, did_you_mean

Parameter = bool | int | float | str
Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "float32", "float16", "bfloat16"]
HeadKind = Literal["auto", "softmax", "sigmoid", "regression"]
PixelMaps = Literal["none", "float16", "float32"]

SHARD_SIZE = 256
"""Images in a shard: the unit that is written, resumed and, on a cluster, sent to a worker."""


def digest(value: object, length: int = 64) -> str:
    """Returns the first `length` hex digits of the SHA-256 of `value` as canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


@dataclass(frozen=True)
class TechniqueSpec:
    """A technique as it is asked for: ``attention_rollout:fusion=max,discard_ratio=0.9``.

    Attributes:
        name: registry name, or a tier (``core``, ``standard``, ``all``).
        parameters: the parameters given, sorted by name; the rest have their defaults.
    """

    name: str
    parameters: tuple[tuple[str, Parameter], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads ``NAME[:key=value,…]``.

        Raises:
            SettingsError: `text` is not of that form.
        """
        name, _, tail = text.strip().partition(":")
        parameters: dict[str, Parameter] = {}
        for part in filter(None, (piece.strip() for piece in tail.split(","))):
            key, equals, value = part.partition("=")
            if not equals or not key.strip():
                raise SettingsError(
                    f"technique '{text}': '{part}' is not key=value; "
                    "write it like attention_rollout:fusion=max"
                )
            if key.strip() in parameters:
                raise SettingsError(f"technique '{text}': '{key.strip()}' is given twice")
            parameters[key.strip()] = parse_parameter(value.strip())
        return cls(name.strip(), tuple(sorted(parameters.items())))

    def __str__(self) -> str:
        tail = ",".join(f"{key}={format_parameter(value)}" for key, value in self.parameters)
        return f"{self.name}:{tail}" if tail else self.name


def parse_parameter(text: str) -> Parameter:
    """Reads ``true``, ``3``, ``0.9`` or a word."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def format_parameter(value: Parameter) -> str:
    """Writes a parameter the way `parse_parameter` reads it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True)
class RunSettings:
    """Everything that decides what `explain` computes.

    Attributes:
        images: files, folders and CSV manifests.
        model: timm name (``deit_tiny_patch16_224``, ``hf-hub:…``, ``embedded:honest``).
        checkpoint: safetensors or torch file with the weights; None takes the hub's.
        labels: file of class names, one a line, or JSON.
        model_card: file with a description of the model for the report (JSON or TOML or Markdown);
            embedded models have their own.
        image_size: (height, width) of the model's input; None takes the model's own.
        head: how the model's outputs are to be read; ``auto`` takes one output for a sigmoid and several
            for a softmax.
        techniques: specs and tiers.
        metrics: by which maps are scored: ``none``, ``core``, ``all``, names with parameters.
        score_images: how many images are scored, drawn by chance: a number, ``all``, or ``auto``: 16 on the
            CPU and 64 on a GPU.
        masks: folder of masks, a PNG with the name of its image each, for the metrics that need them.
        inspect: for how many images the report can show where every patch's information came from; 0 for
            none, None for what the techniques say (the core tier: 16).
        targets: ``predicted``, ``label``, ``top2`` (or ``top<k>``), a class index, or a class name.
        pixel_maps: in which numbers maps that have a value a pixel are kept so too, beside their sums over
            patches.
        batch_size: images in a batch; ``auto`` fits the device.
        device: ``auto`` takes CUDA where there is one.
        precision: of the passes that only look at the model's score, when maps are scored; ``auto`` takes
            float16 on a GPU and float32 on the CPU. Explaining is float32 always.
        seed: of every random draw.
        limit: explain only the first so many images, in the order of the source; None is all.
    """

    images: tuple[str, ...]
    model: str = "vit_base_patch16_224"
    checkpoint: str | None = None
    labels: str | None = None
    model_card: str | None = None
    image_size: tuple[int, int] | None = None
    head: HeadKind = "auto"
    techniques: tuple[str, ...] = ("core",)
    metrics: tuple[str, ...] = ("core",)
    score_images: int | Literal["auto", "all"] = "auto"
    masks: str | None = None
    inspect: int | None = None
    targets: tuple[str, ...] = ("predicted",)
    pixel_maps: PixelMaps = "none"
    batch_size: int | Literal["auto"] = "auto"
    device: Device = "auto"
    precision: Precision = "auto"
    seed: int = 0
    limit: int | None = None

    def __post_init__(self) -> None:
        for name in ("images", "techniques", "metrics", "targets"):
            object.__setattr__(self, name, _words(getattr(self, name)))
        for name in ("model", "checkpoint", "labels", "model_card", "masks"):
            object.__setattr__(self, name, _text(name, getattr(self, name)))
        if not self.images:
            raise SettingsError("no images given; name at least one file, folder or CSV manifest")
        if not self.model:
            raise SettingsError(
                "no model given; --model takes a timm name, for example deit_tiny_patch16_224"
            )
        if not self.techniques:
            raise SettingsError("no technique given; 'vitreport techniques' lists them")
        if not self.targets:
            raise SettingsError("no target given; 'predicted' explains what the model says")
        if self.batch_size != "auto" and self.batch_size < 1:
            raise SettingsError(f"batch size is {self.batch_size}; it must be 'auto' or at least 1")
        if self.score_images not in ("auto", "all") and int(self.score_images) < 1:
            raise SettingsError(
                f"score images is {self.score_images}; it must be 'auto', 'all' or at least 1"
            )
        if self.inspect is not None and self.inspect < 0:
            raise SettingsError(f"inspect is {self.inspect}; it must be 0 (none) or a number of images")
        if self.limit is not None and self.limit < 1:
            raise SettingsError(f"limit is {self.limit}; it must be at least 1")
        if self.image_size is not None and min(self.image_size) < 1:
            raise SettingsError(f"image size is {self.image_size}; write it like 224x320 (height x width)")
        choices = {
            "device": get_args(Device),
            "head": get_args(HeadKind),
            "pixel_maps": get_args(PixelMaps),
            "precision": get_args(Precision),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                said = f"{name.replace('_', ' ')} is '{getattr(self, name)}'"
                raise SettingsError(f"{said}; allowed: {', '.join(allowed)}")
        for spec in self.techniques:
            TechniqueSpec.parse(spec)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Builds settings from plain values; lists become tuples, absent names their defaults.

        Raises:
            SettingsError: a name that is no setting, or a value that a setting cannot take.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        for name in values:
            if name not in known:
                raise SettingsError(f"unknown setting '{name}'{did_you_mean(name, known)}")
        absent = {"image_size": None, "limit": None, "inspect": None, "batch_size": "auto"}
        ready: dict[str, Any] = {}
        for name, value in values.items():
            if name in absent and value == absent[name]:
                ready[name] = value
            elif name == "image_size":
                ready[name] = parse_image_size(value)
            elif name == "score_images" and value in ("auto", "all"):
                ready[name] = value
            elif name in ("batch_size", "seed", "limit", "inspect", "score_images"):
                ready[name] = _integer(name, value)
            else:
                ready[name] = value
        try:
            return cls(**ready)
        except TypeError as error:
            raise SettingsError(f"settings do not fit: {error}") from error

    def to_mapping(self) -> dict[str, Any]:
        """Plain values, as JSON takes them; without `pixel_maps` where none are kept."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in dataclasses.asdict(self).items()
            if name != "pixel_maps" or value != "none"
        }

    def command(self) -> str:
        """The command line that reproduces a run with these settings."""
        words = ["vitreport", "run", *self.images]
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        for name, value in self.to_mapping().items():
            if (
                name == "images"
                or value is None
                or (name != "model" and getattr(self, name) == defaults[name])
            ):
                continue
            if name in ("techniques", "metrics"):
                words += [word for spec in value for word in (f"--{name.removesuffix('s')}", spec)]
            elif name == "targets":
                words += ["--target", ",".join(value)]
            else:
                shown = "x".join(map(str, value)) if isinstance(value, list) else str(value)
                words += [f"--{name.replace('_', '-')}", shown]
        return shlex.join([*words, "-o", "RUN"])


def read_config(path: Path) -> dict[str, Any]:
    """Reads settings from a TOML file: the names of `RunSettings`, at the top level.

    Raises:
        SettingsError: the file cannot be read or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot read the config {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from error


def parse_image_size(value: object) -> tuple[int, int]:
    """Reads ``224``, ``224x320`` (height x width) or a pair.

    Raises:
        SettingsError: `value` is none of these.
    """
    parts = value.lower().split("x") if isinstance(value, str) else value
    try:
        sizes = [int(part) for part in parts] if isinstance(parts, list | tuple) else [int(str(parts))]
    except ValueError:
        sizes = []
    if len(sizes) == 1:
        sizes *= 2
    if len(sizes) != 2:
        raise SettingsError(f"image size is '{value}'; write it like 224 or 224x320 (height x width)")
    return sizes[0], sizes[1]


def _words(value: object) -> tuple[str, ...]:
    several = isinstance(value, Iterable) and not isinstance(value, str)
    return tuple(map(str, value)) if several else (str(value),)  # type: ignore[call-overload]


def _text(name: str, value: object) -> str | None:
    if value is None or isinstance(value, str | PurePath):
        return value if value is None else str(value)
    raise SettingsError(f"{name.replace('_', ' ')} is {value!r}; it must be a text")


def _integer(name: str, value: object) -> int:
    try:
        return int(str(value))
    except ValueError:
        raise SettingsError(f"{name.replace('_', ' ')} is '{value}'; it must be a whole number") from None

"""Where a model's class names come from: the user's file, the checkpoint's sidecar, or timm's tables."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vitreport.errors import SettingsError
from vitreport.explanation import ClassNames, is_wordnet_id

_SIDECARS = (
    "{stem}.labels.txt",
    "{stem}.json",
    "config.json",
    "labels.txt",
    "class_names.txt",
    "classes.txt",
)

_INDEX = re.compile(r"\d{1,9}", re.ASCII)
_MOST_BYTES = 1 << 26


def class_names(
    num_classes: int,
    labels: Path | None,
    checkpoint: Path | None,
    config: Mapping[str, Any] | None = None,
    noun: str = "class",
) -> ClassNames:
    """Finds the names of a model's classes.

    Args:
        num_classes: classes of the model.
        labels: file that the user named, or None.
        checkpoint: weights file, whose neighbours may hold names, or None.
        config: of weights from a hub or a downloaded folder, which may hold names.
        noun: what is numbered where no names are found.

    Raises:
        SettingsError: the user's file cannot be read or has another number of names.
    """
    if labels is not None:
        names = _read(labels)
        if names is None:
            raise SettingsError(
                f"{labels} holds no class names; one a line, or JSON: a list or index to name"
            )
        if num_classes == 0:
            raise SettingsError(
                f"the model has no classifier, so it has no classes to name; leave {labels} out"
            )
        if len(names) != num_classes:
            raise SettingsError(f"{labels} has {len(names)} names, the model has {num_classes} classes")
        return _describe(names, f"the file {labels.name}")
    if checkpoint is not None:
        for pattern in _SIDECARS:
            sidecar = checkpoint.with_name(pattern.format(stem=checkpoint.stem))
            names = _read(sidecar) if sidecar.is_file() else None
            if names is not None and len(names) == num_classes:
                return _describe(names, f"the file {sidecar.name} beside the checkpoint")
    names = _from_json(dict(config)) if config else None
    if names is not None and len(names) == num_classes:
        return _describe(names, "the model's own config")
    return _imagenet(num_classes) or ClassNames(
        tuple(f"{noun} {index}" for index in range(num_classes)), origin="numbered, since no names were given"
    )


def _read(path: Path) -> list[str] | None:
    if path.exists() and not path.is_file():
        raise SettingsError(f"cannot read class names from {path}: it is no file")
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise SettingsError(f"{path} has more than {_MOST_BYTES:,} bytes; class names are much shorter")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read class names from {path}: {error}") from error
    if path.suffix != ".json":
        return [line.strip() for line in text.splitlines() if line.strip()] or None
    try:
        return _from_json(json.loads(text))
    except RecursionError:
        raise SettingsError(f"{path} is nested too deeply to hold class names") from None
    except ValueError as error:
        raise SettingsError(f"{path} is not valid JSON: {error}") from error


def _from_json(content: Any) -> list[str] | None:
    """A list of names, index to name, or a model's config that holds one of these."""
    if isinstance(content, list):
        return [str(name) for name in content] or None
    if not isinstance(content, dict):
        return None
    if content and all(_INDEX.fullmatch(str(key)) for key in content):
        by_index = {int(key): str(name) for key, name in content.items()}
        return [by_index[index] for index in range(len(by_index))] if max(by_index) < len(by_index) else None
    labels, words = content.get("label_names"), content.get("label_descriptions")
    if isinstance(labels, list) and isinstance(words, dict) and not all(map(is_wordnet_id, map(str, labels))):
        return [str(words.get(label, label)) for label in labels]
    for key in ("label_descriptions", "label_names", "id2label", "class_names", "pretrained_cfg"):
        names = _from_json(content[key]) if key in content else None
        if names is not None:
            return names
    return None


def _describe(names: list[str], origin: str) -> ClassNames:
    """WordNet ids are kept as such, and named where timm knows their words."""
    if not all(is_wordnet_id(name) for name in names):
        return ClassNames(tuple(names), origin=origin)
    from timm.data import ImageNetInfo

    info = ImageNetInfo("imagenet-22k")
    known = set(info.label_names())
    words = tuple(info.label_name_to_description(name) if name in known else name for name in names)
    return ClassNames(words, tuple(names), origin)


def _imagenet(num_classes: int) -> ClassNames | None:
    from timm.data import ImageNetInfo, infer_imagenet_subset

    subset = infer_imagenet_subset({"num_classes": num_classes})
    if subset is None:
        return None
    info = ImageNetInfo(subset)
    return ClassNames(
        tuple(info.label_descriptions()), tuple(info.label_names()), f"timm's table of {subset}"
    )

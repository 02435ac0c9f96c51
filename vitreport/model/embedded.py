"""The models that come with the package, by name; how they were made is in ``vitreport/demo``."""

from __future__ import annotations

from pathlib import Path

from vitreport.errors import SettingsError, did_you_mean

EMBEDDED = "embedded:"
_FOLDER = Path(__file__).parents[1] / "demo" / "models"


def embedded_names() -> list[str]:
    """Names of the embedded models."""
    return sorted(folder.name for folder in _FOLDER.iterdir() if folder.is_dir())


def embedded_folder(name: str) -> Path:
    """The folder, as timm reads it, of ``embedded:NAME``.

    Raises:
        SettingsError: there is no such model.
    """
    known = embedded_names()
    short = name.removeprefix(EMBEDDED)
    if short not in known:
        hint = did_you_mean(short, known) or ";"
        raise SettingsError(f"no embedded model '{short}'{hint} there are: {', '.join(known)}")
    return _FOLDER / short


def embedded_card(name: str) -> Path | None:
    """The model card of an embedded model; None for any other."""
    return embedded_folder(name) / "card.json" if name.startswith(EMBEDDED) else None

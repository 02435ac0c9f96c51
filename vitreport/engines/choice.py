"""The engine that the user names."""

from __future__ import annotations

from vitreport.engines.engine import Engine
from vitreport.engines.local import LocalEngine
from vitreport.errors import SettingsError, did_you_mean

_OPTIONS = ("workers", "gpus")


def choose_engine(spec: str) -> Engine:
    """Reads ``local``, ``ray`` or ``ray:workers=4,gpus=0.5``.

    Raises:
        SettingsError: there is no such engine or option, or Ray is not installed.
    """
    name, _, tail = spec.strip().partition(":")
    if name == "local" and not tail:
        return LocalEngine()
    if name != "ray":
        raise SettingsError(
            f"unknown engine '{spec}'{did_you_mean(name, ['local', 'ray']) or ';'} it is 'local', 'ray', "
            "or 'ray:workers=N,gpus=SHARE'"
        )
    options = dict(_option(part) for part in tail.split(",") if part.strip())
    try:
        from vitreport.engines.ray_data import RayEngine
    except ImportError as error:
        raise SettingsError(
            f"the engine 'ray' needs Ray ({error}); install it with: pip install 'vitreport[ray]'"
        ) from error
    workers = options.get("workers")
    return RayEngine(None if workers is None else int(workers), options.get("gpus"))


def _option(part: str) -> tuple[str, float]:
    name, _, text = (piece.strip() for piece in part.partition("="))
    if name not in _OPTIONS:
        raise SettingsError(
            f"the engine 'ray' has no option '{name}'{did_you_mean(name, _OPTIONS) or ';'} "
            "it has workers=N (actors at a time) and gpus=SHARE (of a GPU, for each)"
        )
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf") or (name == "workers" and value != int(value)):
        raise SettingsError(
            f"{name} is '{text}'; it must be a {'whole ' * (name == 'workers')}number above 0"
        )
    return name, value

from __future__ import annotations

import sys

import pytest

from vitreport.engines import LocalEngine, choose_engine
from vitreport.errors import SettingsError


def test_the_local_engine_is_known_by_name() -> None:
    assert isinstance(choose_engine("local"), LocalEngine)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("rya", "unknown engine 'rya'; did you mean 'ray'"),
        ("local:workers=2", "unknown engine 'local:workers=2'"),
    ],
)
def test_an_unknown_engine_is_refused_with_those_that_there_are(spec: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said) as caught:
        choose_engine(spec)
    assert "'ray:workers=N,gpus=SHARE'" in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("ray:worker=2", "no option 'worker'; did you mean 'workers'"),
        ("ray:workers=1.5", "workers is '1.5'; it must be a whole number above 0"),
        ("ray:gpus=none", "gpus is 'none'; it must be a number above 0"),
        ("ray:gpus=nan", "gpus is 'nan'; it must be a number above 0"),
        ("ray:workers", "workers is ''; it must be a whole number above 0"),
    ],
)
def test_options_of_ray_that_cannot_be_are_refused(spec: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        choose_engine(spec)


def test_a_missing_ray_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "vitreport.engines.ray_data", raising=False)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SettingsError, match=r"pip install 'vitreport\[ray\]'"):
        choose_engine("ray")

"""A small run in which every text that a stranger may have written was written to do harm."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
from hypothesis import strategies as st
from synthetic_run import write_run, write_scores

from vitreport.images.file import printable
from vitreport.store import RunFolder
from vitreport.store import folder as paths

EXAMPLES = int(os.environ.get("VITREPORT_EXAMPLES", "2"))
"""Runs that a property is tried on; raise it for a longer search."""

PAYLOADS = (
    "<script>alert(1)</script>",
    "</script><script src=http://evil.example/x.js></script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</title></head><body onload=alert(1)>",
    "<!-- <svg/onload=alert(1)> -->",
    "]]><x>",
    "<link rel=attachment href=file:///etc/passwd>",
    "<style>@import 'http://evil.example/x.css'</style>",
    "<base href=http://evil.example/>",
    "<meta http-equiv=refresh content=0;url=http://evil.example/>",
    "javascript:alert(1)",
    "url(file:///etc/passwd)",
    "&lt;script&gt;&#60;b&#62;&amp;",
    "{{ 7 * 7 }}{% raw %}{# #}",
    "${7*7}`;alert(1)//",
    "\\u003cscript\\u003e\\",
    '\\"];alert(1);[\\"',
    '=HYPERLINK("http://evil.example","x")',
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(1+1)",
    "\t=1+1",
    "＝1+1",
    "'=1",
    "\x1b[2J\x1b]0;owned\x07",
    "\x9b31m",
    "\u202egpj.exe\u2066\u200f",
    "two\nlines\r\nand\u2028more\u2029",
    "\x00\x08\x7f\ufffe\ufdd0",
    "../../../../tmp/escaped",
    "..\\..\\escaped",
    "C:\\windows\\win.ini",
    "file:///etc/passwd",
    "http://evil.example/x.png",
    "%2e%2e%2f%00",
    "NaN",
    "$\\frac{1}{2}$ \\input{/etc/passwd}",
    "constructor",
    "__proto__",
    "😀👨‍👩‍👧 家 \ue000\u00ad e\u0301",
    "\U000e0041\u200b",
    "long" * 80,
    " ",
    "",
)

WORDS = st.one_of(
    st.sampled_from(PAYLOADS),
    st.lists(st.sampled_from(PAYLOADS), min_size=2, max_size=3).map("".join),
    st.text(st.characters(codec="utf-8"), max_size=40),
)
"""Text that a stranger wrote."""

NAMES = WORDS.filter(lambda text: text.strip() != "")


@dataclass(frozen=True)
class Texts:
    """The texts of a run: two of each kind, for there are two images with a page."""

    files: tuple[str, str, str]
    groups: tuple[str, str, str]
    columns: tuple[tuple[str, str], ...]
    reason: str
    classes: tuple[str, str, str, str, str]
    model: str
    card: tuple[tuple[str, str], ...]
    notice: str
    error: str
    title: str


def _several(count: int, words: st.SearchStrategy[str] = WORDS) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(words, min_size=count, max_size=count).map(tuple)


TEXTS: st.SearchStrategy[Texts] = st.builds(
    Texts,
    files=_several(3, NAMES),
    groups=_several(3),
    columns=st.lists(st.tuples(NAMES, WORDS), max_size=2, unique_by=lambda pair: pair[0]).map(tuple),
    reason=NAMES,
    classes=_several(5, NAMES),
    model=NAMES,
    card=st.lists(st.tuples(NAMES, WORDS), max_size=2, unique_by=lambda pair: pair[0]).map(tuple),
    notice=WORDS,
    error=NAMES,
    title=NAMES,
)


def hostile_run(root: Path, texts: Texts) -> Path:
    """Writes the run: three images, one of them set aside; one technique failed, one was skipped."""
    uris = tuple(f"photos/{printable(name)}" for name in texts.files)  # what the catalogue makes of a name
    write_run(root, 3, uris=uris, classes=texts.classes, failing=("raw_attention",))
    write_scores(root)
    folder = RunFolder(root)
    meta = json.dumps(dict(texts.columns), ensure_ascii=False)
    groups = dict(zip(folder.read_table(paths.CATALOGUE)["id"].to_pylist(), texts.groups, strict=True))
    for path in (paths.CATALOGUE, paths.images_part(0)):
        _change(folder, path, lambda row: row | {"group": groups[row["id"]], "meta": meta})
    _change(folder, paths.images_part(0), lambda row: row | {"reason": row["reason"] and texts.reason})
    manifest = folder.manifest()
    failed = paths.technique_part(manifest.techniques[0], 0)
    _change(folder, failed, lambda row: row | {"error": texts.error})
    techniques = [
        replace(one, title=texts.title, source=texts.notice, shows=texts.error, does_not_show=texts.notice)
        for one in manifest.techniques
    ]
    techniques[-1] = replace(techniques[-1], skipped=texts.reason)
    model = replace(
        manifest.model,
        name=texts.model,
        weights=texts.model,
        licence=texts.notice,
        card=dict(texts.card),
        class_names_origin=texts.notice,
        readout=texts.notice,
    )
    folder.commit_manifest(
        replace(
            manifest,
            model=model,
            techniques=tuple(techniques),
            command=texts.notice,
            settings={"images": [texts.notice], "targets": [texts.title]},
            environment={texts.title: texts.notice},
            data=replace(manifest.data, notices=(texts.notice,)),
        )
    )
    return root


def _change(folder: RunFolder, path: str, row: Callable[[dict[str, object]], dict[str, object]]) -> None:
    table = folder.read_table(path)
    rows = [row(one) for one in table.to_pylist()]
    folder.write_table(path, pa.Table.from_pylist(rows, schema=table.schema))

from __future__ import annotations

import json

from vitreport.report.image_data import ROWS_A_SCRIPT, script_safe, table_scripts
from vitreport.report.outputs import Outputs
from vitreport.report.pages import ImageRow

SOFTMAX = Outputs("softmax", 5, judged=True)
HOSTILE = "</script><script>alert(1)</script>\u2028 & '\"\n.jpg"


def rows(count: int, name: str = "a.jpg") -> list[ImageRow]:
    nothing = (None,) * 5
    return [ImageRow(f"{number:x}", name, name, 0, *nothing, SOFTMAX) for number in range(count)]


def parsed(script: bytes) -> list[list[object]]:
    return json.loads(script.decode().partition("]=")[2].rstrip(";\n"))


def test_a_data_script_cannot_be_closed_by_a_file_name() -> None:
    (script,) = table_scripts(rows(1, HOSTILE), {})
    assert b"<" not in script
    assert "\u2028" not in script.decode()
    assert parsed(script)[0][1] == HOSTILE


def test_what_is_safe_in_a_script_is_still_the_same_json() -> None:
    assert json.loads(script_safe(json.dumps(HOSTILE, ensure_ascii=False))) == HOSTILE


def test_large_tables_come_in_several_scripts() -> None:
    scripts = table_scripts(rows(2 * ROWS_A_SCRIPT + 1), {})
    assert [len(parsed(script)) for script in scripts] == [ROWS_A_SCRIPT, ROWS_A_SCRIPT, 1]
    assert all(f"[{number}]=".encode() in script for number, script in enumerate(scripts))

"""A longer search for text that does harm: draws reports of hostile runs until one of them fails.

python -m tests.reliability.fuzz_text --examples 500 --seed 1
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path


def main(words: list[str] | None = None) -> None:
    """Runs the properties of `test_hostile_text` on many more runs than the tests do."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pdf", action="store_true", help="PDFs too, which take longer")
    asked = parser.parse_args(words)
    os.environ["VITREPORT_EXAMPLES"] = str(asked.examples)
    here = Path(__file__).resolve().parent
    sys.path += [str(place) for place in (here, here.parent, here.parent / "report")]
    from hypothesis import seed
    from test_hostile_text import test_no_text_acts_in_a_difference as in_a_difference
    from test_hostile_text import test_no_text_acts_in_the_pdf as in_the_pdf
    from test_hostile_text import test_no_text_becomes_markup_script_address_formula_or_path as in_the_site

    for target in (in_the_site, in_the_pdf, in_a_difference) if asked.pdf else (in_the_site,):
        began = time.perf_counter()
        seed(asked.seed)(target)()
        print(f"{target.__name__}: none of its runs did harm, {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()

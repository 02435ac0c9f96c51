"""``python -m vitreport``."""

from vitreport.cli import main

main()

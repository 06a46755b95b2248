"""`python -m toolgate.cli` is `toolgate`."""

from toolgate.cli import main

main(prog_name="toolgate")

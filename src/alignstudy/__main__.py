"""`python -m alignstudy`, where the command isn't on the path."""

from alignstudy.cli.app import main

main()

"""`python -m hf_relabel.hub_tools.commands`: the command line where no console script is installed."""

from hf_relabel.hub_tools.commands import main

main()

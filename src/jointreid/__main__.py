"""`python -m jointreid`: the command line where no console script is on the path, and for torchrun."""

from jointreid.cli import console

console()

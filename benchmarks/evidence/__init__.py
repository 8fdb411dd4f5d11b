"""Which network, joined over many data sets, is best: arms trained equally on three data sets from two starts.

    bash benchmarks/evidence/run.sh --scale cpu

`arms` are the networks, `data` the data sets, `tasks` the trainings, `records` what is kept of each under
`results/evidence/`, `run` the loop over them, and `tables` the pages made from the records.
"""

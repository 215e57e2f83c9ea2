"""
Sweeps: searches that propose runs, and the agents that ask them for work.

    defining     a sweep is made, changed, moved to another state
    agents       an agent asks: what shall I run, what shall I stop?
    suggesting   the next point: of the grid, by dice, by a model (`bayes`)
    halting      which runs hyperband ends early
    launching    a sweep whose scheduler runs as an item of a queue

An agent's question, the run that answers it and how far the search has come are one transaction,
which holds the sweep's row: no two agents are given the same point.
"""

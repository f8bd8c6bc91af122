"""Detection on five public sets with labels, each by its own protocol, for any method of the one type in `method.py`.

The data are not part of the project: `MONITOR_BENCHMARK_DATA` names the folder that holds skab/, smd/, nab/, batadal/
and nsl_kdd/. Labels meet scores in the scorers and nowhere else.
"""

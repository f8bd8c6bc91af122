"""What a user would write without `monitor`: the same network, the same topic, the same answer to an anomaly.

They run in an environment of their own and import nothing of the project. Reviewed for fairness; where there was a
choice, it was made in the peer's favour:

- one thread of torch, inference mode, the window as one array: no thread pool that spins, no gradient;
- the windows are kept in memory and lost with the process (`monitor` has them back after a restart); Quix Streams' own
  state, which keeps them on disk, would cost more;
- at least once, with the commits and batches that each library has by default or better (`monitor` is measured exactly
  once);
- no checks of the input beyond a `KeyError`, no dead letters, no metrics, no incidents: one alert for each bad window;
- the network alone is run: no error by feature, no latent code.
"""

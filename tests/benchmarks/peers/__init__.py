"""The server and the scripts of bench_peers. The scripts run in environments of their own, without our package."""

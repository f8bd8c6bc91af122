"""HTTP for probes, Prometheus and people: `server` answers, `page` and its `panels` draw the status, `markup` keeps it escaped."""

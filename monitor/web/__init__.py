"""HTTP for probes, Prometheus and people: `server` answers, `page` draws the status, `markup` keeps it escaped."""

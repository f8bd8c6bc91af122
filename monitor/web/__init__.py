"""HTTP for probes, Prometheus and people: `server` answers, `page` and `panels` draw, `markup` keeps text escaped."""

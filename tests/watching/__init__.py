"""What watches the service: Prometheus' rules, Grafana's dashboards, Alertmanager, each run for real."""

"""The chart, the image and the service on a real cluster: `python -m tests.e2e`. See docs/kubernetes.md."""

"""`make bench`: what the service costs, beside what it cannot do without and what a user would write, in one run."""

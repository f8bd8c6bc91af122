"""Rows from elsewhere than a running consumer: from files and from the past of a topic."""

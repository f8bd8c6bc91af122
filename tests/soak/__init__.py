"""`make soak`: many events, streams that come and go, members that are restarted; and whether memory stays flat."""

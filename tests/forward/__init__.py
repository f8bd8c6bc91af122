"""`monitor forward`: what is sent, and that nothing is lost or overtaken on the way, with real receivers."""

"""Image and chart, checked with the tools that deploy them; where a tool is missing, skipped with the reason."""

"""`monitor demo`: the main job on real input, with a verdict.

`stage` has what every run has: `place` the folder and the configuration, `broker` and `child` what it starts, `watch`
asks it over HTTP, `cut` is how it is ended early. `story` tells the run of the README: `data` is what goes in, `play`
feeds the service and follows its alerts, `truth` and `report` judge. `packets` tells that of a capture, which `attacks`
judges.
"""

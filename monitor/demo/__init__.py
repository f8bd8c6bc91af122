"""`monitor demo`: the main job on real input, with a verdict.

`story` tells the run; `data` is what goes in, `place` the folder and the configuration, `broker` and `child` what it
starts, `play` feeds the service and follows its alerts, `watch` asks it over HTTP, `truth` and `report` judge;
`cut` is how it is ended early.
"""

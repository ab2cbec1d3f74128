"""An audit: everything that a policy asks for, measured and told in one record.

`wanted` reads from a policy what must be measured; `answers` asks the model once for every test image, and
`performance`, `calibration`, `repetition` and `cost` tell what came of it; `parts` are the runs of other verbs; `run`
joins them and decides the requirements.
"""

"""The policy: what must hold, said before anything is measured.

`audit.yaml` is read by `reading`, its fields stand in `fields`; a requirement is an `expression` over a `metric`, found
in the findings by `metrics` and decided by `decide`. `start` writes a first policy.
"""

"""An audit's measurements, each against a plain second version."""

"""Speed and memory, measured in one run against peers and limits: python -m benchmarks [NAME...]."""

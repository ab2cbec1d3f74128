"""Standards, a YAML file each: the clauses that a report can serve, in other words than the standard's own."""

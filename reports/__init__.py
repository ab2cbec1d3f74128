"""The language of findings and its renderings. Nothing here needs torch."""

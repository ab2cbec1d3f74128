"""Does it know what it does not know: fitting detectors to a model, scoring images with them, and judging both.

plan says what is asked, learn fits, detector keeps and opens what was fitted, watch scores shards of images, verdict
tells of single ones; fit, score and evaluate are the runs.
"""

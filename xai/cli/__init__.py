"""The command line: thin over the engine, a file a verb. Heavy imports happen inside the verbs."""

"""The graph of stages: a study file becomes stages, stages become artefacts, artefacts a run."""
